package chaos

import (
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"math/big"
	"os"
	"os/exec"
	"path/filepath"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/netns"
)

// A machine that starts again has another boot id, and its clocks that tick through a suspend begin anew. Both are a
// node's own here: the id is a file mounted over the kernel's, in the mount namespace the node has anyway, the clocks are a
// time namespace's. What cannot be had that way is a clock that jumps under a running process: the offsets of a time
// namespace are fixed before the first process enters it, and the wall clock is the whole machine's.

// boots are where a node's machine stands: files that are read when the node starts.
type boots struct{ id, uptime string }

// intoBoot runs the rest of its arguments on a machine that was booted as the first two say.
const intoBoot = `mount --bind "$1" /proc/sys/kernel/random/boot_id && up=$(cat "$2") && shift 2 && exec unshare --time --boottime "$up" --monotonic "$up" -- "$@"`

func newBoots(dir, name string) (boots, error) {
	b := boots{id: filepath.Join(dir, name+".boot"), uptime: filepath.Join(dir, name+".uptime")}
	return b, b.renew()
}

// renew is a reboot; it counts from the next start of the node.
func (b boots) renew() error {
	id := make([]byte, 16)
	if _, err := rand.Read(id); err != nil {
		return fmt.Errorf("draw boot id: %w", err)
	}
	x := hex.EncodeToString(id)
	text := x[:8] + "-" + x[8:12] + "-" + x[12:16] + "-" + x[16:20] + "-" + x[20:] + "\n"
	ahead, err := rand.Int(rand.Reader, big.NewInt(1_000_000))
	if err != nil {
		return fmt.Errorf("draw uptime: %w", err)
	}
	// A new file: the one that is mounted stays what it was for whoever still runs.
	if err := os.Remove(b.id); err != nil && !os.IsNotExist(err) {
		return fmt.Errorf("renew boot id: %w", err)
	}
	if err := os.WriteFile(b.id, []byte(text), 0o444); err != nil {
		return fmt.Errorf("renew boot id: %w", err)
	}
	if err := os.WriteFile(b.uptime, []byte(ahead.String()), 0o644); err != nil {
		return fmt.Errorf("renew uptime: %w", err)
	}
	return nil
}

// command makes argv run there. The process keeps the pid it is started with.
func (b boots) command(argv ...string) []string {
	return append([]string{"sh", "-c", intoBoot, "sh", b.id, b.uptime}, argv...)
}

// canReboot tries whether this machine lets a process have a boot of its own.
func canReboot(dir string, h *netns.Host) bool {
	b, err := newBoots(dir, "try")
	if err != nil {
		return false
	}
	argv := h.Command(b.command("cat", "/proc/sys/kernel/random/boot_id")...)
	out, err := exec.Command(argv[0], argv[1:]...).Output()
	want, rerr := os.ReadFile(b.id)
	return err == nil && rerr == nil && string(out) == string(want)
}

func rebootFaults() []fault {
	return []fault{
		{name: "reboot", targets: mostlyPrimary, hold: seconds(2, 12), needs: reboots, cost: "writes may stop for a lease", strike: reboot},
		{name: "power-cut-reboot", hold: seconds(1, 5), needs: reboots, cost: "everything stops until the nodes are back", strike: powerCutReboot},
	}
}

func reboot(s *strike) (func() error, error) {
	s.target.hold()
	if err := s.target.kill(); err != nil {
		return s.target.free, err
	}
	return s.target.free, s.target.boots.renew()
}

// powerCutReboot is a power cut after which nobody's earlier acknowledgements count.
func powerCutReboot(s *strike) (func() error, error) {
	heal, err := powerCut(s)
	for _, n := range s.c.cluster.nodes {
		if rerr := n.boots.renew(); rerr != nil && err == nil {
			err = rerr
		}
	}
	return heal, err
}
