package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
)

// TestSBOM: the bill of materials of a built gateway has what go.mod says of a module that it surely uses, the Go version, and each module once.
func TestSBOM(t *testing.T) {
	t.Parallel()
	var out, errs bytes.Buffer
	if code := run([]string{"version", "--sbom"}, nil, &out, &errs); code != exitClean {
		t.Fatalf("exit %d: %s", code, &errs)
	}
	var bom sbom
	if err := json.Unmarshal(out.Bytes(), &bom); err != nil {
		t.Fatal(err)
	}
	if bom.Format != "CycloneDX" || bom.Version != "1.5" || bom.Metadata.Component.Type != "application" {
		t.Errorf("%+v", bom.Metadata)
	}
	versions := map[string]string{}
	for _, c := range bom.Components {
		if _, twice := versions[c.Ref]; twice || !strings.HasPrefix(c.PURL, "pkg:golang/"+c.Name+"@") {
			t.Errorf("component %+v, twice: %v", c, twice)
		}
		versions[c.Ref], versions[c.Name] = c.Version, c.Version
	}
	if versions["std"] != strings.TrimPrefix(runtime.Version(), "go") {
		t.Errorf("Go %q", versions["std"])
	}
	mod, err := os.ReadFile(filepath.Join("..", "..", "go.mod"))
	if err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{"github.com/nats-io/nats-server/v2", "github.com/gobwas/ws"} {
		if versions[name] == "" || !strings.Contains(string(mod), name+" "+versions[name]+"\n") {
			t.Errorf("%s %q is not what go.mod says", name, versions[name])
		}
	}
}
