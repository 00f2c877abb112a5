package e2e

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/autopilot-mysql/autopilot-mysql/e2e/internal/compose"
)

const (
	image     = "autopilot-mysql:local"
	imageBase = "autopilot-mysql-base:local"
)

// TestImage: not root, no shell needed, nothing secret in it, and the size that the documentation states.
func TestImage(t *testing.T) {
	compose.Need(t)
	require.Equal(t, "mysql", docker(t, "inspect", "-f", "{{.Config.User}}", image))
	require.Equal(t, "[/usr/local/bin/autopilot-mysql]", docker(t, "inspect", "-f", "{{.Config.Entrypoint}}", image), "no shell in between")
	check := docker(t, "inspect", "-f", "{{json .Config.Healthcheck.Test}}", image)
	require.True(t, strings.HasPrefix(check, `["CMD","/usr/local/bin/autopilot-mysql"`), check)
	nothingSecret(t)
	statedSize(t)
	// Without a shell in the image our program does all that it is for: here, telling what is wrong with its settings.
	nothing := filepath.Join(t.TempDir(), "nothing")
	require.NoError(t, os.WriteFile(nothing, nil, 0o644))
	without := []string{"run", "--rm", "-v", nothing + ":/bin/sh:ro", "-v", nothing + ":/bin/bash:ro", image}
	require.Contains(t, docker(t, append(without, "version")...), "autopilot-mysql")
	out, err := exec.Command("docker", append(without, "run")...).CombinedOutput()
	require.Error(t, err)
	require.Contains(t, string(out), "MYSQL_REPL_PASSWORD")
	// Kubernetes cannot look up the name of an account: the example has the number.
	manifest, err := os.ReadFile("../docker/kubernetes/statefulset.yaml")
	require.NoError(t, err)
	uid := docker(t, "run", "--rm", "--entrypoint", "id", image, "-u")
	require.Contains(t, string(manifest), "runAsUser: "+uid+"\n")
}

// nothingSecret: the image is made of the program and two folders, and of nothing else that lies about where it is built.
func nothingSecret(t *testing.T) {
	t.Helper()
	sent, err := os.ReadFile("../.dockerignore")
	require.NoError(t, err)
	require.Equal(t, "*\n!bin/autopilot-mysql\n", string(sent), "all that a build of the image is sent is the program")
	base := strings.Split(docker(t, "history", "--no-trunc", "--format", "{{.CreatedBy}}", imageBase), "\n")
	steps := strings.Split(docker(t, "history", "--no-trunc", "--format", "{{.CreatedBy}}", image), "\n")
	copies := 0
	for _, step := range steps[:len(steps)-len(base)] { // the newest is the first
		if strings.Contains(step, "COPY") || strings.Contains(step, "ADD") {
			require.Contains(t, step, " /usr/local/bin/autopilot-mysql")
			copies++
		}
	}
	require.Equal(t, 1, copies, steps)
	said := strings.ToLower(strings.Join(steps, "\n") + docker(t, "inspect", "-f", "{{json .Config.Env}}{{json .Config.Labels}}", image))
	for _, word := range []string{"password", "token", "secret", "key"} {
		require.NotContains(t, said, word)
	}
}

// statedSize: the README's numbers, in MB, are this image's. Debian's packages grow; the program is ours.
func statedSize(t *testing.T) {
	t.Helper()
	size := func(name string) float64 {
		n, err := strconv.ParseFloat(docker(t, "inspect", "-f", "{{.Size}}", name), 64)
		require.NoError(t, err)
		return n / 1e6
	}
	readme, err := os.ReadFile("../docker/README.md")
	require.NoError(t, err)
	stated := regexp.MustCompile(`one program of (\d+) MB \((\d+) MB with a base of Debian packages\)`).FindStringSubmatch(string(readme))
	require.Len(t, stated, 3, "the README states the size")
	program, all := size(image)-size(imageBase), size(image)
	t.Logf("the image has %.1f MB, %.1f of them are the program", all, program)
	require.InDelta(t, number(t, stated[1]), program, 2)
	require.InEpsilon(t, number(t, stated[2]), all, 0.1)
	require.Less(t, program, 40.0, "small is a promise")
}

func number(t *testing.T, text string) float64 {
	t.Helper()
	n, err := strconv.ParseFloat(text, 64)
	require.NoError(t, err)
	return n
}

// likePublished has what is in the way in the published images of MySQL and Percona Server, as their Dockerfiles show it:
// an account of another number, a volume that is declared already, an option file (with an option that no mysqld starts
// with), variables named MYSQL_…, an entrypoint script with arguments, and a user.
const likePublished = `FROM ` + imageBase + `
RUN groupadd -g 1001 mysql && useradd -u 1001 -r -g 1001 -s /sbin/nologin mysql
ENV GOSU_VERSION=1.19 MYSQL_MAJOR=9.7 MYSQL_VERSION=9.7.0-1.el9 MYSQL_SHELL_VERSION=9.7.0-1.el9 PS_VERSION=8.4.10-10.1
RUN mkdir -p /var/lib/mysql /var/run/mysqld /docker-entrypoint-initdb.d /etc/mysql/conf.d && chown mysql:mysql /var/lib/mysql /var/run/mysqld && \
    chmod 1777 /var/lib/mysql /var/run/mysqld && \
    printf '[mysqld]\ndatadir=/nowhere\nsocket=/nowhere/mysqld.sock\nuser=nobody\nno_such_option=1\n' >/etc/my.cnf && cp /etc/my.cnf /etc/mysql/my.cnf && \
    printf '#!/bin/sh\nexit 9\n' >/usr/local/bin/docker-entrypoint.sh && chmod 755 /usr/local/bin/docker-entrypoint.sh
VOLUME ["/var/lib/mysql", "/var/log/mysql"]
ENTRYPOINT ["docker-entrypoint.sh"]
USER mysql
EXPOSE 3306 33060
CMD ["mysqld"]
`

// TestImageHardened: on a base that is like the published ones, in a container that may do nothing (read-only, no
// capability, no shell), a node becomes healthy and primary, and stops in order. Its secrets come as files, and are
// nowhere that `docker inspect` or `docker logs` would show.
func TestImageHardened(t *testing.T) {
	compose.Need(t)
	name := fmt.Sprintf("hardened%d", time.Now().UnixNano())
	base, made := name+"-base", name+"-image"
	t.Cleanup(func() {
		for _, c := range []string{name + "-node", name + "-consul"} {
			if t.Failed() {
				out, _ := exec.Command("docker", "logs", "--tail", "40", c).CombinedOutput()
				t.Logf("%s said:\n%s", c, out)
			}
			_ = exec.Command("docker", "rm", "-f", "-v", c).Run() // it may not be there
		}
		_ = exec.Command("docker", "rmi", "-f", made, base).Run()
	})
	build := exec.Command("docker", "build", "-t", base, "-")
	build.Stdin = strings.NewReader(likePublished)
	out, err := build.CombinedOutput()
	require.NoErrorf(t, err, "%s", out)
	docker(t, "build", "-f", "../docker/Dockerfile", "--build-arg", "BASE_IMAGE="+base, "-t", made, "..")
	require.Equal(t, `["/usr/local/bin/autopilot-mysql"] ["run"] mysql`, docker(t, "inspect", "-f", "{{json .Config.Entrypoint}} {{json .Config.Cmd}} {{.Config.User}}", made))

	docker(t, "run", "-d", "--name", name+"-consul", "autopilot-mysql-consul:local", "agent", "-server", "-bootstrap-expect", "1", "-client", "0.0.0.0", "-data-dir", "/consul/data")
	consul := docker(t, "inspect", "-f", "{{.NetworkSettings.IPAddress}}", name+"-consul")
	secrets, nothing := t.TempDir(), filepath.Join(t.TempDir(), "nothing")
	require.NoError(t, os.WriteFile(nothing, nil, 0o644))
	for _, file := range []string{"repl", "root", "app"} {
		require.NoError(t, os.WriteFile(filepath.Join(secrets, file), []byte(file+"-topsecret\n"), 0o644))
	}
	args := []string{"run", "-d", "--name", name + "-node", "--read-only", "--tmpfs", "/tmp", "--cap-drop", "ALL", "--security-opt", "no-new-privileges",
		"-v", secrets + ":/run/secrets:ro", "-e", "AUTOPILOT_CONSUL=" + consul + ":8500", "-e", "AUTOPILOT_SMALL=true", "-e", "MYSQL_DATABASE=app", "-e", "MYSQL_USER=app",
		"-e", "MYSQL_REPL_PASSWORD_FILE=/run/secrets/repl", "-e", "MYSQL_ROOT_PASSWORD_FILE=/run/secrets/root", "-e", "MYSQL_PASSWORD_FILE=/run/secrets/app"}
	for _, shell := range []string{"sh", "dash", "bash"} {
		args = append(args, "-v", nothing+":/bin/"+shell+":ro")
	}
	node := docker(t, append(args, made)...)
	state := func(format string) string { return docker(t, "inspect", "-f", format, node) }
	waitFor(t, "Docker to find it healthy", func() bool {
		require.Equal(t, "running", state("{{.State.Status}}"), "it ended")
		return state("{{.State.Health.Status}}") == "healthy"
	})
	waitFor(t, "a primary", func() bool {
		return exec.Command("docker", "exec", node, "autopilot-mysql", "healthcheck", "primary").Run() == nil
	})
	require.Equal(t, "1001", docker(t, "exec", node, "id", "-u"))
	require.Contains(t, docker(t, "exec", node, "autopilot-mysql", "status"), "is primary in term 1")
	for _, shown := range []string{state("{{json .}}"), docker(t, "logs", node), docker(t, "exec", node, "cat", "/proc/1/cmdline", "/proc/1/environ")} {
		require.NotContains(t, shown, "topsecret")
	}
	docker(t, "stop", "-t", "75", node)
	require.Equal(t, "0", state("{{.State.ExitCode}}"), "it stopped in order")
}
