package engine_test

import (
	"context"
	"errors"
	"fmt"
	"os"

	"github.com/autopilot-mysql/autopilot-mysql/engine"
)

// lamp is a machine's node: what its actions work on.
type lamp struct{ lit bool }

func light(_ context.Context, l *lamp, _ int) error { l.lit = true; return nil }

// The facts of this machine are one number, the battery's charge in percent.
func charged(percent int) error {
	if percent < 5 {
		return fmt.Errorf("the battery has %d %%, light needs 5 %%", percent)
	}
	return nil
}

func Example() {
	const off, on = "off", "on"
	const press, empty = "press", "empty"
	spec := engine.Spec[string, string, int, *lamp]{
		Name: "lamp", Initial: off,
		States: []string{off, on}, Events: []string{press, empty},
		Rules: []engine.Rule[string, string, int, *lamp]{
			{From: []string{off}, On: press, To: on, Guard: "charged", If: charged,
				Action: "light", Do: light, Why: "pressed"},
			{From: []string{on}, On: press, To: off, Why: "pressed again"},
			{From: []string{on}, On: empty, To: off, Why: "the battery is empty"},
		},
		Ignore: engine.IgnoreIn("gives no light anyway", empty, off),
	}
	m, err := engine.New(spec, &lamp{}, engine.Options[string, string]{})
	if err != nil {
		fmt.Println(err)
		return
	}
	ctx := context.Background()
	_, err = m.Fire(ctx, press, 2, "")
	fmt.Println(err)
	_, err = m.Fire(ctx, press, 80, "it is dark")
	fmt.Println(m.State(), err)

	scope := m.Scope()
	_, _ = m.Fire(ctx, empty, 0, "")
	fmt.Println(context.Cause(scope))
	_, err = m.Fire(ctx, empty, 0, "")
	fmt.Println(errors.Is(err, engine.ErrIgnored))
	_ = engine.WriteTable(os.Stdout, spec)
	// Output:
	// off --press--> on refused by guard charged: the battery has 2 %, light needs 5 %
	// on <nil>
	// left state on for off on empty: the battery is empty
	// true
	// lamp: starts in off
	//
	// FROM  EVENT  TO   GUARD    ACTION  WHY
	// off   press  on   charged  light   pressed
	// on    press  off  -        -       pressed again
	// on    empty  off  -        -       the battery is empty
	//
	// IN   IGNORES  WHY
	// off  empty    gives no light anyway
}
