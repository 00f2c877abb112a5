package history

import (
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/anishathalye/porcupine"
)

// Txn is one transaction on one register: it read the value FOR UPDATE and wrote another one, which nobody else writes.
// Transactions that failed before their COMMIT was sent did not happen and are not recorded.
type Txn struct {
	Client int       `json:"client"`
	Key    int       `json:"key"`
	Began  time.Time `json:"began"`
	Ended  time.Time `json:"ended"` // when the answer to COMMIT came, or the client gave up
	Read   int64     `json:"read"`
	Wrote  int64     `json:"wrote"`
	// Known is true when the client was told that it is committed; otherwise it may have happened at any time since, or
	// never.
	Known bool   `json:"known"`
	From  string `json:"from"`
}

// String is the transaction in one line.
func (t Txn) String() string {
	outcome := "committed"
	if !t.Known {
		outcome = "outcome unknown"
	}
	return fmt.Sprintf("key %d: read %d, wrote %d, %s to %s at %s, %s", t.Key, t.Read, t.Wrote, stamp(t.Began), stamp(t.Ended), t.From, outcome)
}

// registerLimit bounds the search for one key.
const registerLimit = 2 * time.Minute

// Registers checks that the transactions on every key could have happened one after another, each at some instant
// between its beginning and its end, starting from 0 and ending with the value in final. One sentence per bad key.
func Registers(txns []Txn, final map[int]int64) []string {
	byKey := map[int][]Txn{}
	for _, t := range txns {
		byKey[t.Key] = append(byKey[t.Key], t)
	}
	keys := make([]int, 0, len(byKey))
	for k := range byKey {
		keys = append(keys, k)
	}
	slices.Sort(keys)
	var bad []string
	for _, k := range keys {
		value, ok := final[k]
		if !ok {
			bad = append(bad, fmt.Sprintf("register %d: its row is gone", k))
			continue
		}
		if why := register(byKey[k], value); why != "" {
			bad = append(bad, fmt.Sprintf("register %d: %s", k, why))
		}
	}
	return bad
}

// register checks one key; "" is good.
func register(txns []Txn, final int64) string {
	kept := happened(txns, final)
	var ops []porcupine.Operation
	var last int64
	for _, t := range kept {
		last = max(last, t.Ended.UnixNano())
	}
	last++
	for i, t := range kept {
		op := porcupine.Operation{ClientId: i, Input: t, Call: t.Began.UnixNano(), Return: t.Ended.UnixNano()}
		if !t.Known { // it may have taken effect at any time since
			op.Return = last
		}
		ops = append(ops, op)
	}
	ops = append(ops, porcupine.Operation{ClientId: len(kept), Input: Txn{Read: final, Wrote: final}, Call: last + 1, Return: last + 2})
	switch porcupine.CheckOperationsTimeout(model, ops, registerLimit) {
	case porcupine.Ok:
		return ""
	case porcupine.Unknown:
		return fmt.Sprintf("not decided within %v (%d transactions)", registerLimit, len(kept))
	}
	return "not linearizable: " + explain(kept, final)
}

// model is a register whose every operation states what it read and what it left behind.
var model = porcupine.Model{
	Init: func() any { return int64(0) },
	Step: func(state, input, _ any) (bool, any) {
		t := input.(Txn)
		return t.Read == state.(int64), t.Wrote
	},
}

// happened leaves out the transactions of unknown outcome whose value nobody read. Either they did not happen, or they
// were the last: whoever comes after one reads its value, because every transaction reads. What is left did happen.
func happened(txns []Txn, final int64) []Txn {
	writer := map[int64]Txn{}
	for _, t := range txns {
		writer[t.Wrote] = t
	}
	keep := map[int64]bool{}
	need := func(value int64) { // somebody saw this value: its writer and the one it read from happened
		for !keep[value] {
			t, ok := writer[value]
			if !ok {
				return
			}
			keep[value] = true
			value = t.Read
		}
	}
	need(final)
	for _, t := range txns {
		if t.Known {
			need(t.Wrote)
		}
	}
	return slices.DeleteFunc(slices.Clone(txns), func(t Txn) bool { return !keep[t.Wrote] })
}

// explain names what can be seen without a search: a value two have read, a value that vanished, a read of the past.
func explain(txns []Txn, final int64) string {
	slices.SortFunc(txns, func(a, b Txn) int { return a.Ended.Compare(b.Ended) })
	reader := map[int64]Txn{}
	written := map[int64]Txn{}
	var found []string
	for _, t := range txns {
		if first, ok := reader[t.Read]; ok {
			found = append(found, fmt.Sprintf("two read %d: [%v] and [%v]", t.Read, first, t))
		}
		reader[t.Read], written[t.Wrote] = t, t
	}
	for _, t := range txns {
		if _, ok := reader[t.Wrote]; !ok && t.Wrote != final {
			found = append(found, fmt.Sprintf("committed and never seen again: [%v]", t))
		}
		if from, ok := written[t.Read]; ok && from.Began.After(t.Ended) {
			found = append(found, fmt.Sprintf("read before it was written: [%v]", t))
		} else if !ok && t.Read != 0 {
			found = append(found, fmt.Sprintf("read what nobody wrote: [%v]", t))
		}
	}
	if len(found) == 0 {
		return fmt.Sprintf("%d transactions, final value %d", len(txns), final)
	}
	return strings.Join(found[:min(len(found), 5)], "; ")
}
