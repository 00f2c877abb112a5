package snapshot

import (
	"os"
	"testing"

	"go.uber.org/goleak"
)

// TestMain demands that no test leaves a goroutine behind: uploads, fetchers
// and compressors end with what started them.
func TestMain(m *testing.M) {
	if os.Getenv(childEnv) != "" {
		os.Exit(runChild())
	}
	if program := os.Getenv(handEnv); program != "" {
		os.Exit(runProgram(program))
	}
	var allow []goleak.Option
	if os.Getenv("AUTOPILOT_TEST_STORE") != "" {
		// That server outlives the tests, and so do idle connections to it for some seconds.
		allow = append(allow, goleak.IgnoreAnyFunction("net/http.(*persistConn).readLoop"), goleak.IgnoreAnyFunction("net/http.(*persistConn).writeLoop"))
	}
	goleak.VerifyTestMain(m, allow...)
}
