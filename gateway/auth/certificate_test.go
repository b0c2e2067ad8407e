package auth

import (
	"context"
	"strings"
	"testing"
)

const somePrint = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"

// TestCertificates: who is known by what of a certificate, and whose is not listed is refused.
func TestCertificates(t *testing.T) {
	colons := strings.ToUpper(somePrint[:2])
	for i := 2; i < len(somePrint); i += 2 {
		colons += ":" + strings.ToUpper(somePrint[i:i+2])
	}
	listed, err := ParseFingerprints("prints", []byte("# devices\n"+colons+" pump-7\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	nobody, err := ParseFingerprints("prints", []byte("# none\n"))
	if err != nil {
		t.Fatal(err)
	}
	full := &Peer{CN: "pump-7", Names: []string{"pump-7.example", "spiffe://x/pump-7"}, Fingerprint: strings.ToUpper(somePrint), ExpiresSec: 5000}
	for name, tc := range map[string]struct {
		by       Identity
		listed   *Fingerprints
		peer     *Peer
		username string
		verdict  Verdict
		user     string
	}{
		"no TLS":               {peer: nil, verdict: Pass},
		"no certificate":       {peer: &Peer{ServerName: "x"}, verdict: Pass},
		"by TLS":               {peer: &Peer{CN: "pump-7", User: "seven", Fingerprint: somePrint}, verdict: Allow, user: "seven"},
		"by CN":                {by: ByCN, peer: full, verdict: Allow, user: "pump-7"},
		"CN of a proxy":        {peer: &Peer{CN: "pump-7"}, verdict: Allow, user: "pump-7"},
		"proxy, list":          {listed: listed, peer: &Peer{CN: "pump-7"}, verdict: Deny},
		"proxy, print":         {by: ByFingerprint, peer: &Peer{CN: "pump-7"}, verdict: Deny},
		"same name":            {peer: full, username: "pump-7", verdict: Allow, user: "pump-7"},
		"another's name":       {peer: full, username: "pump-8", verdict: Deny},
		"no CN":                {peer: &Peer{Fingerprint: somePrint}, verdict: Deny},
		"CN with a line break": {peer: &Peer{CN: "a\nb"}, verdict: Deny},
		"first SAN":            {by: BySAN, peer: full, verdict: Allow, user: "pump-7.example"},
		"chosen SAN":           {by: BySAN, peer: full, username: "spiffe://x/pump-7", verdict: Allow, user: "spiffe://x/pump-7"},
		"CN is no SAN":         {by: BySAN, peer: full, username: "pump-7", verdict: Deny},
		"by print":             {by: ByFingerprint, peer: full, verdict: Allow, user: somePrint},
		"listed":               {listed: listed, peer: full, verdict: Allow, user: "pump-7"},
		"not listed":           {listed: nobody, peer: full, verdict: Deny},
	} {
		c := NewCertificates(tc.by, tc.listed)
		a, err := c.Authenticate(context.Background(), &Request{Peer: tc.peer, Username: tc.username, HasUsername: tc.username != ""}, 1000)
		if err != nil || a.Verdict != tc.verdict || a.User != tc.user || a.Verdict == Deny && a.Refusal != NotAuthorized {
			t.Errorf("%s: %+v %v", name, a, err)
		}
		if !a.Standing.Holds() || a.Verdict == Allow && a.ExpiresSec != tc.peer.ExpiresSec {
			t.Errorf("%s: %+v", name, a)
		}
		if c.Set(nobody); a.Verdict == Allow && a.Standing.Holds() {
			t.Errorf("%s: stays when nobody is listed any more", name)
		}
	}
}

// TestParseFingerprints: wrong lines are told by number.
func TestParseFingerprints(t *testing.T) {
	for text, say := range map[string]string{
		"": "prints: no fingerprints", "xyz\n": "prints:1: not in hex", somePrint + "\n\naabb": "prints:3: 2 bytes", somePrint + " x\n" + strings.ToUpper(somePrint): "",
	} {
		if _, err := ParseFingerprints("prints", []byte(text)); (err == nil) != (say == "") || err != nil && !strings.Contains(err.Error(), say) {
			t.Errorf("%q: %v", text, err)
		}
	}
}

// FuzzFingerprints: no file makes it panic.
func FuzzFingerprints(f *testing.F) {
	f.Add([]byte(somePrint + " x\n# y\n::"))
	f.Fuzz(func(t *testing.T, text []byte) {
		if p, err := ParseFingerprints("prints", text); err == nil && p == nil {
			t.Fatal("neither prints nor an error")
		}
	})
}

// FuzzRules: no text makes it panic, and what is taken says whom it is for.
func FuzzRules(f *testing.F) {
	f.Add([]byte(`[{"permission":"allow","action":"publish","topic":"up/${clientid}/#","qos":1,"retain":false,"on_deny":"ignore"}]`))
	f.Add([]byte(`[{"permission":"deny","action":"all","topic":"#"},{}]`))
	f.Add([]byte(`[] []`))
	f.Fuzz(func(t *testing.T, text []byte) {
		rules, err := ParseRules("x", text)
		if err != nil {
			return
		}
		for i := range rules {
			if rules[i].Filter == "" || rules[i].Actions == 0 || rules[i].QoSMax > 2 {
				t.Fatalf("%+v", rules[i])
			}
		}
	})
}
