package e2e

import (
	"bytes"
	"errors"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/hashicorp/hcl/v2"
	"github.com/hashicorp/hcl/v2/hclsyntax"
	"github.com/stretchr/testify/require"
	"go.yaml.in/yaml/v3"
)

// TestExamplesNameKnownSettings: every setting in an example is one there is.
func TestExamplesNameKnownSettings(t *testing.T) {
	reference, err := os.ReadFile("../docs/settings.md")
	require.NoError(t, err)
	found := 0
	for _, root := range []string{"../docker", "../docs/hooks.md", "../docs/upgrades.md"} {
		require.NoError(t, filepath.WalkDir(root, func(path string, e fs.DirEntry, err error) error {
			if err != nil || e.IsDir() || filepath.Base(filepath.Dir(path)) == "bin" || filepath.Ext(path) == ".sh" {
				return err
			}
			text, err := os.ReadFile(path)
			for _, name := range regexp.MustCompile(`\bAUTOPILOT_[A-Z0-9_]+`).FindAllString(string(text), -1) {
				found++
				known := strings.Contains(string(reference), "`"+name+"`") // the reference is too long to be shown
				require.Truef(t, known, "%s in %s is no setting", name, path)
			}
			return err
		}))
	}
	require.Greater(t, found, 10)
}

// TestExampleForNomad: the job is HCL, and what has a limit is on the right side of it.
func TestExampleForNomad(t *testing.T) {
	for _, file := range []string{"../docker/nomad/mysql.nomad.hcl", "../docker/consul-policy.hcl"} {
		text, err := os.ReadFile(file)
		require.NoError(t, err)
		parsed, diags := hclsyntax.ParseConfig(text, file, hcl.InitialPos)
		require.False(t, diags.HasErrors(), diags.Error())
		if !strings.Contains(file, "nomad") {
			continue
		}
		job := onlyBlock(t, parsed.Body.(*hclsyntax.Body), "job")
		group := onlyBlock(t, job, "group")
		task := onlyBlock(t, group, "task")
		require.Contains(t, task.Attributes, "driver")
		require.Contains(t, task.Attributes, "kill_timeout", "Nomad's default of 5 s makes every stop a kill")
		ports := map[string]bool{}
		for _, b := range onlyBlock(t, group, "network").Blocks {
			ports[b.Labels[0]] = true
		}
		for _, m := range regexp.MustCompile(`\$\{NOMAD_PORT_(\w+)\}`).FindAllStringSubmatch(string(text), -1) {
			require.True(t, ports[m[1]], "port %s is not asked for", m[1])
		}
	}
}

// onlyBlock is the body of the only block of a kind.
func onlyBlock(t *testing.T, b *hclsyntax.Body, kind string) *hclsyntax.Body {
	t.Helper()
	var found []*hclsyntax.Body
	for _, block := range b.Blocks {
		if block.Type == kind {
			found = append(found, block.Body)
		}
	}
	require.Len(t, found, 1, kind)
	return found[0]
}

// manifest is the part of a Kubernetes object that must fit together.
type manifest struct {
	APIVersion string `yaml:"apiVersion"`
	Kind       string
	Metadata   struct{ Name string }
	Spec       struct {
		ServiceName string `yaml:"serviceName"`
		Replicas    int
		Selector    yaml.Node
		Template    struct {
			Metadata struct{ Labels map[string]string }
			Spec     struct {
				Grace      int `yaml:"terminationGracePeriodSeconds"`
				Containers []struct {
					Name, Image string
					Env         []struct {
						Name, Value string
						ValueFrom   yaml.Node `yaml:"valueFrom"`
					}
					Ports []struct {
						Name string
						Port int `yaml:"containerPort"`
					}
					LivenessProbe  probe                   `yaml:"livenessProbe"`
					ReadinessProbe probe                   `yaml:"readinessProbe"`
					Mounts         []struct{ Name string } `yaml:"volumeMounts"`
				}
				Volumes []struct{ Name string }
			}
		}
		Claims []struct{ Metadata struct{ Name string } } `yaml:"volumeClaimTemplates"`
	}
}

type probe struct {
	Get struct{ Path, Port string } `yaml:"httpGet"`
}

// TestExampleForKubernetes: the objects are complete and name what is there.
func TestExampleForKubernetes(t *testing.T) {
	text, err := os.ReadFile("../docker/kubernetes/statefulset.yaml")
	require.NoError(t, err)
	objects := map[string][]manifest{}
	for d := yaml.NewDecoder(bytes.NewReader(text)); ; {
		var m manifest
		err := d.Decode(&m)
		if errors.Is(err, io.EOF) {
			break
		}
		require.NoError(t, err)
		require.NotEmpty(t, m.APIVersion)
		require.NotEmpty(t, m.Metadata.Name)
		objects[m.Kind] = append(objects[m.Kind], m)
	}
	require.Len(t, objects["StatefulSet"], 1)
	set := objects["StatefulSet"][0]
	require.Equal(t, "apps/v1", set.APIVersion)
	services := map[string]bool{}
	for _, s := range objects["Service"] {
		services[s.Metadata.Name] = true
		var selector map[string]string
		require.NoError(t, s.Spec.Selector.Decode(&selector))
		require.Subset(t, set.Spec.Template.Metadata.Labels, selector, "service %s selects nobody", s.Metadata.Name)
	}
	require.True(t, services[set.Spec.ServiceName], "service %s is not there", set.Spec.ServiceName)
	var selector struct {
		Match map[string]string `yaml:"matchLabels"`
	}
	require.NoError(t, set.Spec.Selector.Decode(&selector))
	require.Equal(t, set.Spec.Template.Metadata.Labels, selector.Match)
	pod := set.Spec.Template.Spec
	require.Greater(t, pod.Grace, 60, "a stop takes up to --stop-timeout")
	volumes := map[string]bool{}
	for _, v := range pod.Volumes {
		volumes[v.Name] = true
	}
	for _, c := range set.Spec.Claims {
		volumes[c.Metadata.Name] = true
	}
	require.NotEmpty(t, pod.Containers)
	for _, c := range pod.Containers {
		ports := map[string]bool{}
		for _, p := range c.Ports {
			ports[p.Name] = true
		}
		require.True(t, ports[c.LivenessProbe.Get.Port] && ports[c.ReadinessProbe.Get.Port], "probes of %s ask a port it has not", c.Name)
		require.Equal(t, "/livez", c.LivenessProbe.Get.Path)
		require.Equal(t, "/readyz", c.ReadinessProbe.Get.Path)
		for _, m := range c.Mounts {
			require.True(t, volumes[m.Name], "volume %s is not there", m.Name)
		}
		for _, e := range c.Env {
			require.False(t, strings.HasSuffix(e.Name, "PASSWORD") && e.Value != "", "%s is a secret in a manifest", e.Name)
		}
	}
}

// TestExampleForCompose: whichever Compose is here takes the files, alone and together.
func TestExampleForCompose(t *testing.T) {
	asked := false
	for _, program := range [][]string{{"docker", "compose"}, {"docker-compose"}, {os.Getenv("AUTOPILOT_TEST_COMPOSE")}} {
		if exec.Command(program[0], append(program[1:], "version")...).Run() == nil {
			asked = true
			checkComposeFiles(t, program)
		}
	}
	if !asked {
		t.Skip("there is no Compose here")
	}
}

func checkComposeFiles(t *testing.T, program []string) {
	t.Helper()
	for _, files := range [][]string{{"compose.yaml"}, {"compose.yaml", "compose.haproxy.yaml"}} {
		args := program[1:]
		for _, f := range files {
			args = append(args, "-f", "../docker/"+f)
		}
		out, err := exec.Command(program[0], append(args, "config", "-q")...).CombinedOutput()
		require.NoErrorf(t, err, "%v %v: %s", program, files, out)
		require.Empty(t, string(out), "%v warns about %v", program, files)
	}
}
