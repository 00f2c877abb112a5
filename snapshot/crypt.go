package snapshot

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"runtime"
	"slices"
	"strings"
	"sync"

	"filippo.io/age"
)

// EncryptionAge is the only method of encryption: an age file around every
// compressed stream (age-encryption.org/v1).
const EncryptionAge = "age"

// scryptWork is how hard a passphrase is to try: 2^15 takes 32 MiB and a tenth
// of a second, what scrypt's authors gave for logins. age's own default of 2^18
// would take 256 MiB, more than a whole snapshot may.
const scryptWork = 15

// ErrNoKey says that the data is encrypted, and no key that opens it is configured.
var ErrNoKey = errors.New("encrypted, and none of the configured keys opens it")

// Encryption is what a manifest says about the encryption of its parts. It
// holds nothing secret.
type Encryption struct {
	Method string `json:"method"`
	// Recipients are the public keys any of which's identity opens it.
	Recipients []string `json:"recipients,omitempty"`
	// Passphrase: it opens with the passphrase instead.
	Passphrase bool `json:"passphrase,omitempty"`
}

// String is the form for people.
func (e *Encryption) String() string {
	switch {
	case e == nil:
		return "none"
	case e.Passphrase:
		return e.Method + " (passphrase)"
	}
	return fmt.Sprintf("%s (%s)", e.Method, strings.Join(e.Recipients, ", "))
}

// KeyOptions are the settings keys are made of.
type KeyOptions struct {
	// Recipients are age public keys (age1…) new data is encrypted to.
	Recipients []string
	// Identities is the text of an age identity file (AGE-SECRET-KEY-1…, comments
	// allowed). Without Recipients new data is encrypted to their public keys.
	Identities string
	// Passphrase encrypts and decrypts instead of recipients.
	Passphrase string
}

// Keys encrypt what is written and decrypt what is read. Nil means: new data is
// not encrypted, and what is encrypted cannot be read. Safe for concurrent use.
type Keys struct {
	recipients []age.Recipient
	says       *Encryption
	identities []age.Identity
	// deriving is held while a key may be derived from a passphrase, for the
	// memory that takes: see scryptWork.
	deriving sync.Mutex
}

// ParseKeys reads the settings; nil when there are none. No error repeats a secret.
func ParseKeys(o KeyOptions) (*Keys, error) {
	k := &Keys{}
	if o.Passphrase != "" {
		if len(o.Recipients) > 0 {
			return nil, errors.New("parse snapshot keys: a passphrase and recipients exclude each other; keep one of the two")
		}
		return k, k.passphrase(o)
	}
	if err := k.parseIdentities(o.Identities); err != nil {
		return nil, err
	}
	names := slices.Clone(o.Recipients)
	for _, r := range o.Recipients {
		parsed, err := age.ParseRecipients(strings.NewReader(r))
		if err != nil || len(parsed) != 1 {
			return nil, fmt.Errorf("parse snapshot keys: %q is not an age public key (age1…)", shortened(r))
		}
		k.recipients = append(k.recipients, parsed[0])
	}
	if len(o.Recipients) == 0 {
		k.recipients, names = publicKeys(k.identities)
	}
	if len(k.recipients) > 0 {
		k.says = &Encryption{Method: EncryptionAge, Recipients: names}
	}
	if k.says == nil && len(k.identities) == 0 {
		return nil, nil
	}
	return k, nil
}

// passphrase sets the keys up for one.
func (k *Keys) passphrase(o KeyOptions) error {
	r, err := age.NewScryptRecipient(o.Passphrase)
	if err != nil {
		return errors.New("parse snapshot keys: the passphrase cannot be used")
	}
	r.SetWorkFactor(scryptWork)
	i, err := age.NewScryptIdentity(o.Passphrase)
	if err != nil {
		return errors.New("parse snapshot keys: the passphrase cannot be used")
	}
	i.SetMaxWorkFactor(scryptWork)
	if err := k.parseIdentities(o.Identities); err != nil { // for what was written before
		return err
	}
	k.recipients, k.says = []age.Recipient{r}, &Encryption{Method: EncryptionAge, Passphrase: true}
	k.identities = append([]age.Identity{i}, k.identities...)
	return nil
}

func (k *Keys) parseIdentities(text string) error {
	if strings.TrimSpace(text) == "" {
		return nil
	}
	ids, err := age.ParseIdentities(strings.NewReader(text))
	if err != nil {
		return errors.New("parse snapshot keys: the identity file holds something that is no age secret key (AGE-SECRET-KEY-1…)")
	}
	k.identities = append(k.identities, ids...)
	return nil
}

// publicKeys are the recipients that belong to identities.
func publicKeys(ids []age.Identity) (out []age.Recipient, names []string) {
	for _, i := range ids {
		switch i := i.(type) {
		case *age.X25519Identity:
			out, names = append(out, i.Recipient()), append(names, i.Recipient().String())
		case *age.HybridIdentity:
			out, names = append(out, i.Recipient()), append(names, i.Recipient().String())
		}
	}
	return out, names
}

// shortened keeps a secret that was put in the wrong place out of a message.
func shortened(s string) string {
	if len(s) <= 8 {
		return s
	}
	return s[:8] + "…"
}

// Says is how new data is encrypted; nil when it is not.
func (k *Keys) Says() *Encryption {
	if k == nil {
		return nil
	}
	return k.says
}

// String says what the keys do, and never what they are.
func (k *Keys) String() string { return "snapshot keys: " + k.Says().String() }

// GoString is String, so that no format prints the keys.
func (k *Keys) GoString() string { return k.String() }

// LogValue is String, so that no log line holds the keys.
func (k *Keys) LogValue() slog.Value { return slog.StringValue(k.String()) }

// seal returns a writer that encrypts into w, or w itself with a Close that
// does nothing. Closing ends the encrypted stream and leaves w open.
func (k *Keys) seal(w io.Writer) (io.WriteCloser, error) {
	if k.Says() == nil {
		return unsealed{w}, nil
	}
	defer k.derive(k.says)()
	enc, err := age.Encrypt(w, k.recipients...)
	if err != nil {
		return nil, fmt.Errorf("encrypt: %w", err)
	}
	return enc, nil
}

type unsealed struct{ io.Writer }

// Close implements io.Closer.
func (unsealed) Close() error { return nil }

// derive waits until no key is derived from the passphrase, if e says that one
// is going to be. The returned function is called when it is: the 32 MiB that
// took are given back at once, because the next part needs as much again.
func (k *Keys) derive(e *Encryption) (derived func()) {
	if !e.Passphrase {
		return func() {}
	}
	k.deriving.Lock()
	return func() {
		runtime.GC()
		k.deriving.Unlock()
	}
}

// open returns the plain stream of r, which e says how to decrypt. A stream that
// was cut short or changed ends with an error.
func (k *Keys) open(r io.Reader, e *Encryption) (io.Reader, error) {
	switch {
	case e == nil:
		return r, nil
	case e.Method != EncryptionAge:
		return nil, fmt.Errorf("encryption %q is not known to this version, which reads %q", e.Method, EncryptionAge)
	case k == nil || len(k.identities) == 0:
		return nil, fmt.Errorf("%w: it was made for %s", ErrNoKey, e)
	}
	ready := bufio.NewReader(r)
	_, _ = ready.Peek(1) // wait for the store before the lock is taken; an error comes again
	derived := k.derive(e)
	plain, err := age.Decrypt(ready, k.identities...)
	derived()
	var none *age.NoIdentityMatchError
	if errors.As(err, &none) {
		return nil, fmt.Errorf("%w: it was made for %s", ErrNoKey, e)
	}
	if err != nil {
		return nil, fmt.Errorf("decrypt: %w", err)
	}
	return plain, nil
}
