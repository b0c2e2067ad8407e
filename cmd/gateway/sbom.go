package main

import (
	"encoding/json"
	"fmt"
	"io"
	"net/url"
	"runtime/debug"
	"strings"
)

// The bill of materials is CycloneDX 1.5: what is in this binary, as the Go linker recorded it. So it needs no tool, and can't be of another build.

type sbom struct {
	Format     string          `json:"bomFormat"`
	Version    string          `json:"specVersion"`
	Revision   int             `json:"version"`
	Metadata   sbomMetadata    `json:"metadata"`
	Components []sbomComponent `json:"components"`
}

type sbomMetadata struct {
	Component sbomComponent `json:"component"`
}

type sbomComponent struct {
	Type       string         `json:"type"`
	Ref        string         `json:"bom-ref"`
	Name       string         `json:"name"`
	Version    string         `json:"version,omitempty"`
	PURL       string         `json:"purl"`
	Properties []sbomProperty `json:"properties,omitempty"`
}

type sbomProperty struct {
	Name  string `json:"name"`
	Value string `json:"value"`
}

// writeSBOM writes the bill of materials of the build that info describes.
func writeSBOM(w io.Writer, info *debug.BuildInfo, version string) error {
	ours := component("application", info.Main.Path, version)
	ours.Name = "gateway"
	for _, s := range info.Settings {
		ours.Properties = append(ours.Properties, sbomProperty{"go:build:" + s.Key, s.Value})
	}
	out := sbom{Format: "CycloneDX", Version: "1.5", Revision: 1, Metadata: sbomMetadata{ours}}
	out.Components = append(out.Components, component("library", "std", strings.TrimPrefix(info.GoVersion, "go")))
	for _, m := range info.Deps {
		if m.Replace != nil {
			m = m.Replace
		}
		c := component("library", m.Path, m.Version)
		if m.Sum != "" {
			c.Properties = []sbomProperty{{"go:sum", m.Sum}}
		}
		out.Components = append(out.Components, c)
	}
	enc := json.NewEncoder(w)
	enc.SetIndent("", "  ")
	if err := enc.Encode(out); err != nil {
		return fmt.Errorf("bill of materials: %w", err)
	}
	return nil
}

// component names a Go module by its package URL.
func component(kind, path, version string) sbomComponent {
	purl := "pkg:golang/" + path
	if version != "" {
		purl += "@" + url.PathEscape(version)
	}
	return sbomComponent{Type: kind, Ref: purl, Name: path, Version: version, PURL: purl}
}
