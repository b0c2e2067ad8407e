package gateway

import (
	"crypto/x509"
	"fmt"
	"regexp"
	"slices"
	"strings"

	"github.com/tidegate/tidegate/bus"
	"github.com/tidegate/tidegate/gateway/mqtt"
)

// TenantCfg is a fleet that shares the gateway with others and knows nothing of them.
type TenantCfg struct {
	Name   string `yaml:"name" doc:"letters, digits, - and _; inside, client ids are NAME/ID"`
	Prefix string `yaml:"prefix" doc:"levels before its topics inside, such as t/acme/; empty for t/NAME/"`
	Hosts  string `yaml:"hosts" doc:"server names (SNI) of its devices, with spaces between; *.acme.example stands for any first label"`
	Users  string `yaml:"users" doc:"proved user names of its devices, where * stands for anything: *@acme"`

	CertOrganization string `yaml:"cert_organization" doc:"organization (O) in the certificates of its devices"`
	CertUnit         string `yaml:"cert_unit" doc:"organizational unit (OU) in the certificates of its devices"`
	CertIssuer       string `yaml:"cert_issuer" doc:"common name of the authority that issues them"`

	ConnectionsMax   int `yaml:"connections_max" doc:"its devices that are connected; 0 for no bound; further ones are refused with 0x97"`
	ConnectRate      int `yaml:"connect_rate" doc:"its connects a second; 0 for no bound; further ones are refused with 0x9F"`
	ConnectBurst     int `yaml:"connect_burst" doc:"of these, how many may come at once; 0 for one"`
	SubscriptionsMax int `yaml:"subscriptions_max" doc:"its subscriptions; 0 for no bound; further ones are refused with 0x97"`
	RetainedMax      int `yaml:"retained_max" doc:"its retained messages; 0 for no bound; those of further topics are delivered but not kept"`

	RetainedBytesMax int `yaml:"retained_bytes_max" doc:"bytes of these with their topics; 0 for no bound; beyond it messages are delivered but not kept"`
	QueueBytesMax    int `yaml:"queue_bytes_max" doc:"bytes that wait for all its devices; 0 for no bound; beyond it session.queue_policy decides"`
	PacketRate       int `yaml:"packet_rate" doc:"packets or WebSocket messages a second of all its devices; 0 for no bound; who sends beyond it is not read for a while"`
	ByteRate         int `yaml:"byte_rate" doc:"bytes a second of these; 0 for no bound"`
	DeliverRate      int `yaml:"deliver_rate" doc:"messages a second to all its devices; 0 for no bound; beyond it QoS 0 is dropped, QoS 1 and 2 wait"`
}

const (
	tenantsMax      = 1000 // each is a label of metrics
	tenantBytesMax  = 64   // of a name
	prefixBytesMax  = 256
	prefixLevelsMax = 8
)

var tenantName = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

func (o *TenantCfg) prefix() string {
	if o.Prefix == "" {
		return "t/" + o.Name + "/"
	}
	return o.Prefix
}

// validateTenants is part of Validate.
func (c *Config) validateTenants(v *validator) {
	if len(c.Tenants) > tenantsMax {
		v.add("tenants", fmt.Sprintf("%d are more than %d", len(c.Tenants), tenantsMax), "")
	}
	if n := (len(c.Listeners) + 1) * (len(c.Tenants) + 1); n > classesMax {
		v.add("tenants", fmt.Sprintf("%d tenants at %d listeners are more than %d pairs", len(c.Tenants), len(c.Listeners), classesMax), "")
	}
	names, hosts, prefixes := map[string]bool{}, map[string]bool{}, []string{}
	for i := range c.Tenants {
		o, path := &c.Tenants[i], fmt.Sprintf("tenants[%d]", i)
		if !tenantName.MatchString(o.Name) || len(o.Name) > tenantBytesMax {
			v.add(path+".name", fmt.Sprintf("%q is not a name of at most %d letters, digits, - and _", o.Name, tenantBytesMax), "a word such as acme")
		}
		if names[o.Name] {
			v.add(path+".name", fmt.Sprintf("there are two tenants %q", o.Name), "one of each name")
		}
		names[o.Name] = true
		prefix := o.prefix()
		if fault := prefixFault(prefix); fault != "" {
			v.add(path+".prefix", fmt.Sprintf("%q %s", prefix, fault), "levels such as t/acme/")
		}
		if other := slices.IndexFunc(prefixes, func(p string) bool { return strings.HasPrefix(p, prefix) || strings.HasPrefix(prefix, p) }); other >= 0 {
			v.add(path+".prefix", fmt.Sprintf("%q and %q of tenants[%d] are one within the other: one tenant would have the other's topics", prefix, prefixes[other], other),
				"prefixes that begin with different levels, such as t/acme/ and t/globex/")
		}
		prefixes = append(prefixes, prefix)
		for host := range strings.FieldsSeq(strings.ToLower(o.Hosts)) {
			if plain := strings.TrimPrefix(host, "*."); plain == "" || strings.ContainsAny(plain, "*/: ") {
				v.add(path+".hosts", fmt.Sprintf("%q is not a server name", host), "a name such as acme.example or *.acme.example")
			}
			if hosts[host] {
				v.add(path+".hosts", fmt.Sprintf("%q is a tenant's already", host), "one tenant for each name")
			}
			hosts[host] = true
		}
		for _, n := range []struct {
			name string
			got  int
			high int
		}{
			{"packet_rate", o.PacketRate, ratePerSecMax}, {"byte_rate", o.ByteRate, ratePerSecMax}, {"deliver_rate", o.DeliverRate, ratePerSecMax},
			{"retained_bytes_max", o.RetainedBytesMax, 1 << 40}, {"queue_bytes_max", o.QueueBytesMax, 1 << 40},

			{"connections_max", o.ConnectionsMax, 1 << 30}, {"connect_rate", o.ConnectRate, 1_000_000}, {"connect_burst", o.ConnectBurst, 1_000_000},
			{"subscriptions_max", o.SubscriptionsMax, 1 << 30}, {"retained_max", o.RetainedMax, 1 << 30},
		} {
			v.between(path+"."+n.name, n.got, 0, n.high)
		}
	}
}

// prefixFault is what is wrong with a prefix; "": nothing.
func prefixFault(prefix string) string {
	switch {
	case !strings.HasSuffix(prefix, "/"):
		return "does not end with a slash"
	case len(prefix) > prefixBytesMax || strings.Count(prefix, "/") > prefixLevelsMax:
		return fmt.Sprintf("is longer than %d bytes or %d levels", prefixBytesMax, prefixLevelsMax)
	case strings.HasPrefix(prefix, "/") || strings.Contains(prefix, "//"):
		return "has an empty level"
	case !mqtt.ValidTopic([]byte(prefix)) || prefix[0] == '$' || bus.Reserved([]byte(prefix)):
		return "has a wildcard, or begins with what is reserved"
	}
	return ""
}

// validateTenant judges the tenant of a listener.
func (c *Config) validateTenant(v *validator, path, name string) {
	if name != "" && !slices.ContainsFunc(c.Tenants, func(o TenantCfg) bool { return o.Name == name }) {
		v.add(path, fmt.Sprintf("there is no tenant %q", name), "one of tenants")
	}
}

// ofCertificate names the tenant whose a verified certificate is; "": none's. two: several tenants claim it. x may be nil.
func (x *tenants) ofCertificate(leaf *x509.Certificate) (name string, two bool) {
	if x == nil {
		return "", false
	}
	for i := range x.rules {
		r := &x.rules[i]
		if r.org == "" && r.unit == "" && r.issuer == "" ||
			r.org != "" && !slices.Contains(leaf.Subject.Organization, r.org) ||
			r.unit != "" && !slices.Contains(leaf.Subject.OrganizationalUnit, r.unit) ||
			r.issuer != "" && leaf.Issuer.CommonName != r.issuer {
			continue
		}
		two = two || name != ""
		name = r.of.name
	}
	return name, two
}
