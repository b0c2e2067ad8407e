package main

import (
	"regexp"
	"slices"
	"strings"
)

const (
	envPrefix = "GATEWAY_"
	// envConfigFile names the file; the one variable that is no setting.
	envConfigFile = "GATEWAY_CONFIG"
)

// kubernetesLink matches what Kubernetes puts into every container beside a Service named gateway.
var kubernetesLink = regexp.MustCompile(`^GATEWAY_(SERVICE_(HOST|PORT.*)|PORT(_\d+_(TCP|UDP)(_(PROTO|PORT|ADDR))?)?)$`)

func fileFromEnv(environ []string) string {
	for _, pair := range environ {
		if name, text, _ := strings.Cut(pair, "="); name == envConfigFile {
			return text
		}
	}
	return ""
}

// readEnv takes every GATEWAY_ variable; one that sets nothing is an error, for it was meant to.
func (l *loader) readEnv(environ []string) {
	for _, pair := range slices.Sorted(slices.Values(environ)) {
		name, text, _ := strings.Cut(pair, "=")
		if !strings.HasPrefix(name, envPrefix) || name == envConfigFile {
			continue
		}
		at := origin{source: fromEnv, name: name}
		s := configSchema.byEnv[name]
		if s == nil {
			if s = secretFile(name); s == nil {
				l.unknownEnv(at)
				continue
			}
			var message string
			if text, message = l.readSecret(s, text); message != "" {
				l.add(s.path, at, "%s", message)
				continue
			}
		}
		if message := s.setText(&l.config, text); message != "" {
			l.add(s.path, at, "%s", message)
			continue
		}
		l.set(s.path, at)
	}
}

func (l *loader) unknownEnv(at origin) {
	p := problem{at: at, what: "unknown variable" + configSchema.suggestEnv(at.name)}
	if kubernetesLink.MatchString(at.name) {
		p.what = "unknown variable, put there by Kubernetes for a Service named gateway"
		p.fix = "enableServiceLinks: false in the pod, or another name for the Service"
	}
	l.problems = append(l.problems, p)
}
