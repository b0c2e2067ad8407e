package gateway

import (
	"reflect"
	"regexp"
	"strings"
	"testing"
)

// TestReasonTexts: whatever an MQTT 5 client may be told has words, which are short, and name settings that exist.
func TestReasonTexts(t *testing.T) {
	texts := append([]string{textAliasUnknown, textExpiryProlonged, textSecondConnect, textAuthUnasked, textWrongAck, textBeforeConnack, textOtherMethod,
		textIDUnknown, textSubscriptions, textNoFilter}, append(malformedTexts[:], protocolTexts[:]...)...)
	untold := map[reason]bool{reasonVersion: true, reasonClientID: true, reasonBadCommands: true, reasonFull: true, reasonHandshake: true, reasonConnectRate: true,
		reasonTLSHello: true, reasonHTTP: true, reasonProxyHeader: true, reasonNotHTTP: true, reasonProxyStranger: true, reasonNoProxyHeader: true, reasonCredentials: true, reasonGuessing: true, reasonAuthBusy: true, reasonAuthUnavailable: true} // before there is a session: no DISCONNECT
	for r := range reasonCount {
		text := reasonTexts[r]
		if told := reasonTable[r].mqtt.Failed() && !untold[r]; told != (text != "") {
			t.Errorf("reason %v has the words %q", r, text)
		}
		texts = append(texts, text)
	}
	for r := refusedNot + 1; r < refusalCount; r++ {
		if r.text() == "" || !r.code().Failed() {
			t.Errorf("refusal %d: %v %q", r, r.code(), r.text())
		}
		texts = append(texts, r.text())
	}
	known := settingNames(reflect.TypeFor[Config](), "")
	for _, text := range texts {
		if len(text) > 120 || strings.ContainsFunc(text, func(c rune) bool { return c < ' ' || c > '~' }) {
			t.Errorf("%d bytes, or not plain: %q", len(text), text)
		}
		for _, name := range regexp.MustCompile(`\b[a-z]+\.[a-z_]*_[a-z_]+|\bsession\.max\b`).FindAllString(text, -1) {
			if !known[name] {
				t.Errorf("%q names the setting %s, which does not exist", text, name)
			}
		}
	}
}

// settingNames are the paths of all settings.
func settingNames(ty reflect.Type, prefix string) map[string]bool {
	all := map[string]bool{}
	for i := range ty.NumField() {
		f := ty.Field(i)
		name := prefix + f.Tag.Get("yaml")
		all[name] = true
		if f.Type.Kind() == reflect.Struct {
			for inner := range settingNames(f.Type, name+".") {
				all[inner] = true
			}
		}
	}
	return all
}
