package bus

import (
	"errors"
	"os"
	"regexp"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats-server/v2/server"
	"github.com/nats-io/nats.go"

	"github.com/tidegate/tidegate/bus/bustest"
)

// documented are the permissions in docs/operations.md: what a gateway may publish and subscribe to, and what everybody else should be denied.
func documented(t *testing.T) (publish, subscribe, denyPublish, denySubscribe []string) {
	t.Helper()
	page, err := os.ReadFile("../docs/operations.md")
	if err != nil {
		t.Fatal(err)
	}
	rest := string(page)
	next := func(until string) []string {
		t.Helper()
		part, after, found := strings.Cut(rest, until)
		if !found {
			t.Fatalf("the page does not say %q", until)
		}
		rest = after
		var subjects []string
		for _, m := range regexp.MustCompile("`([$_][^`]*)`").FindAllStringSubmatch(part, -1) {
			if !strings.HasSuffix(m[1], ".") {
				subjects = append(subjects, m[1])
			}
		}
		return subjects
	}
	next("| publish |")
	publish = next("| subscribe |")
	subscribe = next("(A `*` in NATS")
	next("Everybody else should be denied to publish")
	denyPublish = next("; and to subscribe to")
	denySubscribe = next("These two buckets")
	next("deny ")
	return publish, subscribe, append(denyPublish, next("### What to watch")...), denySubscribe
}

// TestDocumentedPermissions: a gateway that may do what the page says shares the keys of session tickets, and who is denied what it says can't read them.
func TestDocumentedPermissions(t *testing.T) {
	t.Parallel()
	publish, subscribe, denyPublish, denySubscribe := documented(t)
	s := bustest.Start(t, func(o *server.Options) {
		o.Users = []*server.User{
			{Username: "gate", Password: "p", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Allow: publish}, Subscribe: &server.SubjectPermission{Allow: subscribe},
			}},
			{Username: "other", Password: "p", Permissions: &server.Permissions{
				Publish: &server.SubjectPermission{Deny: denyPublish}, Subscribe: &server.SubjectPermission{Deny: denySubscribe},
			}},
		}
	})
	b := openOn(t, s, func(o *Options) { o.User, o.Password = "gate", "p" })
	key := TicketKey{MadeSec: 7, Secret: [32]byte{'s', 'e', 'c', 'r', 'e', 't', '!'}}
	put := func(was Tickets) Tickets {
		t.Helper()
		got, err := b.ReplaceTickets(t.Context(), was, []TicketKey{key})
		if err != nil || len(got.Keys) != 1 || got.Keys[0] != key {
			t.Fatal(got, err)
		}
		return got
	}
	there := put(Tickets{})
	if n := b.Counters().PermissionDenied; n != 0 {
		t.Errorf("the gateway was denied %d things", n)
	}

	other, err := nats.Connect(s.URL(), nats.UserInfo("other", "p"), nats.CustomInboxPrefix("_INBOX_other"), nats.ErrorHandler(func(*nats.Conn, *nats.Subscription, error) {}))
	if err != nil {
		t.Fatal(err)
	}
	defer other.Close()
	heard, err := other.SubscribeSync(">")
	if err != nil || other.Flush() != nil {
		t.Fatal(err)
	}
	put(there)
	for subject, body := range map[string]string{
		"$JS.API.DIRECT.GET.KV_TG_tickets.$KV.TG_tickets.keys":     "",
		"$JS.API.DIRECT.GET.KV_TG_tickets":                         `{"last_by_subj":"$KV.TG_tickets.keys"}`,
		"$JS.API.STREAM.MSG.GET.KV_TG_tickets":                     `{"last_by_subj":"$KV.TG_tickets.keys"}`,
		"$JS.API.CONSUMER.CREATE.KV_TG_tickets":                    `{"stream_name":"KV_TG_tickets","config":{"deliver_subject":"mine","ack_policy":"none"}}`,
		"$JS.API.CONSUMER.CREATE.KV_TG_tickets.x":                  `{"stream_name":"KV_TG_tickets","config":{"name":"x","deliver_subject":"mine","ack_policy":"none"}}`,
		"$JS.API.CONSUMER.DURABLE.CREATE.KV_TG_tickets.y":          `{"stream_name":"KV_TG_tickets","config":{"durable_name":"y","deliver_subject":"mine","ack_policy":"none"}}`,
		"$JS.API.STREAM.SNAPSHOT.KV_TG_tickets":                    `{"deliver_subject":"mine"}`,
		"$JS.API.STREAM.CREATE.COPY":                               `{"name":"COPY","storage":"memory","mirror":{"name":"KV_TG_tickets"}}`,
		"$JS.API.STREAM.MSG.GET.KV_TG_gateways":                    `{"seq":1}`,
		"$JS.API.CONSUMER.DURABLE.CREATE.KV_TG_gateways.z":         `{}`,
		"$JS.API.DIRECT.GET.KV_TG_gateways.$KV.TG_gateways.secret": "",
	} {
		if m, err := other.Request(subject, []byte(body), 100*time.Millisecond); !errors.Is(err, nats.ErrTimeout) {
			t.Errorf("%s answers %v, %v", subject, m, err)
		}
	}
	if err := other.Flush(); err != nil {
		t.Fatal(err)
	}
	for {
		m, err := heard.NextMsg(time.Millisecond)
		if err != nil {
			break
		}
		if strings.Contains(string(m.Data), "secret!") {
			t.Errorf("the keys are heard on %s", m.Subject)
		}
	}
}
