package gateway

import (
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/tidegate/tidegate/bus"
)

// Config is everything an operator may set. The YAML file, the environment (GATEWAY_ and the path in capitals, such as
// GATEWAY_NATS_URL) and the flags are three ways to fill this one struct; the tags are the only schema.
type Config struct {
	Node      string        `yaml:"node" doc:"name of this gateway in NATS, logs and metrics; default: the host name"`
	Loops     int           `yaml:"loops" doc:"event loops; 0 is one for every two cores"`
	Listeners ListenerTexts `yaml:"listeners" doc:"where devices connect: mqtt://ADDR, ws://ADDR or any://ADDR (both on one port), with TLS mqtts://ADDR, wss://ADDR or tls://ADDR (both), with bounds of its own as mqtt://ADDR?max_qos=1"`
	SharePort bool          `yaml:"share_port" doc:"let other gateways of this user listen on the same addresses, as one gateway; needs an external NATS"`
	Admin     string        `yaml:"admin" doc:"address of /livez, /readyz and /metrics; empty for none"`
	Data      string        `yaml:"data" doc:"directory of the embedded NATS server's streams"`
	NATS      NATS          `yaml:"nats" doc:"the NATS behind the gateway"`
	TLS       TLSCfg        `yaml:"tls" doc:"certificates of the gateway and of devices, for listeners with TLS"`
	Auth      Auth          `yaml:"auth" doc:"who may connect"`
	ACL       ACL           `yaml:"acl" doc:"what devices may publish and subscribe to"`
	MQTT      MQTT          `yaml:"mqtt" doc:"what MQTT clients are told and held to"`
	WebSocket WebSocket     `yaml:"websocket" doc:"WebSocket and plain devices on it"`
	Session   SessionCfg    `yaml:"session" doc:"what is kept for a device"`
	Durable   Durable       `yaml:"durable" doc:"what QoS 1 and 2 mean, and what outlives this process"`
	Presence  PresenceCfg   `yaml:"presence" doc:"what backends see of who is connected"`

	Tenants []TenantCfg `yaml:"tenants" doc:"fleets that share the gateway and know nothing of each other"`

	Proxy Proxy `yaml:"proxy" doc:"load balancers in front that tell the devices' own addresses"`

	AutoSubscribe []AutoSubscribe `yaml:"auto_subscribe" doc:"subscriptions that devices get as they connect"`
	TopicRewrite  []TopicRewrite  `yaml:"topic_rewrite" doc:"topics of devices that are taken for others; the first rule that matches decides"`

	Limits Limits  `yaml:"limits" doc:"bounds on what one device can cost; each has a consequence and a counter"`
	Bans   BansCfg `yaml:"bans" doc:"who may not connect"`

	Overload OverloadCfg `yaml:"overload" doc:"what the gateway does when it has too much to do: first it lets nobody new in, then it sends devices away"`

	Drain Drain `yaml:"drain" doc:"how a stopping gateway sends its devices away"`
	Log   Log   `yaml:"log" doc:"what is written to standard error"`

	Diagnostics bool `yaml:"diagnostics" doc:"offer /echo on WebSocket listeners, which returns every message as it came"`
}

// NATS says which NATS server to use and how to log in to it.
type NATS struct {
	URL    string `yaml:"url" doc:"embedded, or nats://HOST:PORT of one or more external servers, separated by commas"`
	Listen string `yaml:"listen" doc:"where the embedded server listens for NATS clients; empty for nowhere"`

	Anonymous string `yaml:"anonymous" doc:"where NATS clients of the embedded server, which has no users, may come from: loopback or anywhere"`

	Creds string `yaml:"creds" doc:"file with user JWT and seed (external NATS)"`
	NKey  string `yaml:"nkey" doc:"file with an nkey seed (external NATS)"`
	Token string `yaml:"token" secret:"true" doc:"token (external NATS)"`
	User  string `yaml:"user" doc:"user name (external NATS)"`

	Password string  `yaml:"password" secret:"true" doc:"password (external NATS)"`
	TLS      NATSTLS `yaml:"tls" doc:"TLS towards an external NATS"`
	Leaf     Leaf    `yaml:"leaf" doc:"a hub that the embedded NATS is a leaf node of: an edge site that goes on without it"`

	HeaderUser bool `yaml:"header_user" doc:"put the device's user name into the TG header"`
	HeaderNode bool `yaml:"header_node" doc:"put this gateway's node name into the TG header"`
	// UplinkBytesMax bounds what one loop holds for a NATS that is slow or away. Beyond it reading from devices that
	// publish pauses; nothing is dropped.
	UplinkBytesMax int `yaml:"uplink_bytes_max" doc:"bytes each loop buffers towards NATS before it pauses reading from publishing devices"`
	// InterestsMax bounds what devices cost NATS; see interests.
	InterestsMax  int           `yaml:"interests_max" doc:"distinct filters that are asked of NATS as they are; further ones as a shape, first with + for the client id; 0 for shapes only"`
	RequestExpiry time.Duration `yaml:"request_expiry" doc:"how long a request of a backend waits for a device that is away, unless TG-Expiry says it; 0 for as long as any message"`
	NobodyTime    time.Duration `yaml:"nobody_time" doc:"after what time a requester is told that no device wants its request, where NATS cannot know; 0 for never"`
}

// NATSTLS is TLS towards an external NATS server.
type NATSTLS struct {
	Enabled bool   `yaml:"enabled" doc:"use TLS even when the URL does not say tls://"`
	CA      string `yaml:"ca" doc:"PEM file of the authorities to trust; empty for the system's"`
	Cert    string `yaml:"cert" doc:"PEM file of the client certificate"`
	Key     string `yaml:"key" doc:"PEM file of the client key"`
}

// Auth says who may connect.
type Auth struct {
	Anonymous string `yaml:"anonymous" doc:"where devices may connect without credentials: loopback, anywhere, or nobody (every device has to authenticate)"`
	SCRAMFile string `yaml:"scram_file" doc:"users of the MQTT 5 method SCRAM-SHA-256 at listeners without a chain, a line each as gateway scram prints it; read again when it changes; empty for none"`

	Chain        string         `yaml:"chain" doc:"chain of auth.chains that says who a device is, unless its listener names another; none for none"`
	Chains       []AuthProvider `yaml:"chains" doc:"who is asked about a device that connects, in this order; the first that knows it decides"`
	Timeout      time.Duration  `yaml:"timeout" doc:"how long one of a chain has to answer; then it cannot tell"`
	Workers      int            `yaml:"workers" doc:"questions that one of a chain has at a time"`
	WaitingMax   int            `yaml:"waiting_max" doc:"devices that wait for one of a chain; further ones are refused with 0x89"`
	CacheMax     int            `yaml:"cache_max" doc:"answers remembered of each one of a chain: so many that let in, and so many others; 0 for none"`
	CacheTime    time.Duration  `yaml:"cache_time" doc:"how long an answer that lets in is remembered, unless it says so itself; 0 for not at all"`
	DenyTime     time.Duration  `yaml:"deny_time" doc:"how long any other answer is remembered, unless it says so itself; 0 for not at all"`
	SessionOwner bool           `yaml:"session_owner" doc:"a session belongs to the user that made it: others with its client id are refused with 0x87"`

	JWTSecretFile string `yaml:"jwt_secret_file" doc:"file with the HS256 secret, 32 bytes or more, of the tokens that plain WebSocket devices must show; read again when it changes; empty for no tokens"`
}

// MQTT holds what CONNACK promises and what clients are held to.
type MQTT struct {
	KeepAliveMax  time.Duration `yaml:"keep_alive_max" doc:"longest keep-alive; MQTT 5 clients that ask for more (or none) are told this one; 0 for no bound"`
	ReceiveMax    int           `yaml:"receive_max" doc:"QoS 1 and 2 messages a device may have unacknowledged; beyond it is closed with 0x93"`
	InflightMax   int           `yaml:"inflight_max" doc:"QoS 1 and 2 messages unacknowledged by one device; further ones wait in its queue"`
	TopicAliasMax int           `yaml:"topic_alias_max" doc:"topic aliases a device may set up"`
	// TopicAliasOutMax bounds memory: for each alias a topic of at most TopicBytesMax is kept.
	TopicAliasOutMax         int  `yaml:"topic_alias_out_max" doc:"topic aliases the gateway sets up towards a device that takes some; 0 for none"`
	TopicLevelsMax           int  `yaml:"topic_levels_max" doc:"levels of a topic or filter; beyond it is refused"`
	TopicBytesMax            int  `yaml:"topic_bytes_max" doc:"bytes of a topic or filter; beyond it is refused"`
	MaxQoS                   int  `yaml:"max_qos" doc:"highest QoS a device may publish with, and is granted in SUBACK: 0, 1 or 2"`
	RetainAvailable          bool `yaml:"retain_available" doc:"keep retained messages"`
	WildcardAvailable        bool `yaml:"wildcard_available" doc:"take filters with wildcards"`
	MultiLevelAvailable      bool `yaml:"multi_level_available" doc:"take filters with #"`
	WildcardDepthMin         int  `yaml:"wildcard_depth_min" doc:"levels that have to come before the first wildcard of a filter; 0 for none"`
	SharedAvailable          bool `yaml:"shared_available" doc:"take shared subscriptions ($share)"`
	SubscriptionIDsAvailable bool `yaml:"subscription_ids_available" doc:"take subscriptions with a Subscription Identifier"`
	RetainedMax              int  `yaml:"retained_max" doc:"retained messages kept; those of further topics are delivered but not kept"`

	RetainedBytesMax  int           `yaml:"retained_bytes_max" doc:"bytes of retained messages kept; further ones are delivered but not kept"`
	RetainedExpiryMax time.Duration `yaml:"retained_expiry_max" doc:"longest time that a retained message is kept, whatever its expiry; 0 for no bound"`

	SharedStrategy string   `yaml:"shared_strategy" doc:"who of a shared subscription gets a message: round-robin, least-inflight, hash-topic, hash-client or sticky"`
	SharedGroups   []string `yaml:"shared_groups" doc:"strategies of single groups, as GROUP=STRATEGY"`
	// FiltersMax bounds the work of one packet.
	FiltersMax int `yaml:"filters_max" doc:"topic filters in one SUBSCRIBE or UNSUBSCRIBE; further ones in it are refused with 0x97, in UNSUBACK 0x83"`

	ReasonStrings bool `yaml:"reason_strings" doc:"tell MQTT 5 clients in words why something of theirs is refused or closed"`

	ServerReference string `yaml:"server_reference" doc:"where MQTT 5 devices are sent that there is no room for, or that leave as the gateway stops: HOST:PORT, or several with spaces between; empty for nowhere"`

	ResponseInformation string        `yaml:"response_information" doc:"what an MQTT 5 device is told that asks for Response Information, such as replies/{client-id}; empty for nothing"`
	RequestTopic        string        `yaml:"request_topic" doc:"topic under which an MQTT 3.x device with a filter for it gets a request; empty for that of the request, without a call"`
	ResponseTopic       string        `yaml:"response_topic" doc:"topic on which such a device answers"`
	SysInterval         time.Duration `yaml:"sys_interval" doc:"how often the gateway tells devices about itself on $SYS/broker/... topics; 0 for never"`

	StrictMapping bool `yaml:"strict_mapping" doc:"refuse topics that NATS's own MQTT would refuse instead of escaping them"`
}

// WebSocket holds what concerns WebSocket listeners.
type WebSocket struct {
	Origins         []string      `yaml:"origins" doc:"hosts that browsers may come from; empty for the listener's own host only, * for any"`
	TrustedProxies  []string      `yaml:"trusted_proxies" doc:"addresses of the HTTP proxies whose forwarded_header is believed, such as 10.0.0.0/8; empty for none"`
	ForwardedHeader string        `yaml:"forwarded_header" doc:"where these proxies write the device's address: x-forwarded-for, x-real-ip or forwarded"`
	Compression     bool          `yaml:"compression" doc:"let plain devices that offer it compress messages (permessage-deflate, without context takeover)"`
	PingInterval    time.Duration `yaml:"ping_interval" doc:"server pings to plain devices; two unanswered ones close the connection"`
	UpTopic         string        `yaml:"up_topic" doc:"topic on which a plain device's messages are published"`
	DownTopic       string        `yaml:"down_topic" doc:"topic from which a plain device gets its messages"`
}

// SessionCfg bounds what is kept for one device.
type SessionCfg struct {
	ExpiryMax     time.Duration `yaml:"expiry_max" doc:"longest time a session outlives its connection (also 3.1.1 clean=0)"`
	QueueCountMax int           `yaml:"queue_count_max" doc:"messages queued for one device; beyond, queue_policy decides"`
	QueueBytesMax int           `yaml:"queue_bytes_max" doc:"bytes queued for one device; beyond, queue_policy decides"`
	QueuePolicy   string        `yaml:"queue_policy" doc:"drop-oldest, drop-newest or disconnect"`
	QueueQoS0     bool          `yaml:"queue_qos0" doc:"queue QoS 0 messages for an absent device too"`
	LastValue     []string      `yaml:"last_value" doc:"filters of topics of which only the newest message waits for a device; a newer one takes the place of the older"`
	BytesMax      int           `yaml:"bytes_max" doc:"bytes kept for all devices of one loop; beyond, no more is queued"`
	Max           int           `yaml:"max" doc:"sessions of one loop; further clients are refused with 0x97"`
}

// Limits bounds what one connection can cost.
type Limits struct {
	ConnectBytesMax  int           `yaml:"connect_bytes_max" doc:"largest CONNECT packet"`
	PacketBytesMax   int           `yaml:"packet_bytes_max" doc:"largest MQTT packet or WebSocket message; beyond it the connection is closed with 0x95 or 1009"`
	ConnectTime      time.Duration `yaml:"connect_time" doc:"from accept until CONNECT or the WebSocket handshake is complete"`
	PacketTime       time.Duration `yaml:"packet_time" doc:"from the first to the last byte of one packet"`
	BatchBytesMax    int           `yaml:"batch_bytes_max" doc:"bytes a device may leave unread: beyond it QoS 0 is dropped and QoS 1/2 waits in the queue"`
	StallTime        time.Duration `yaml:"stall_time" doc:"how long unread bytes may not move at all before the connection is closed"`
	SubscriptionsMax int           `yaml:"subscriptions_max" doc:"subscriptions of one session; further ones are refused with 0x97"`
	ConnectionsMax   int           `yaml:"connections_max" doc:"connections of the gateway; 0 for as many as descriptors allow; further ones are refused with 0x97 or 503"`
	RequestsMax      int           `yaml:"requests_max" doc:"unanswered requests of one plain device"`

	ConnectRate    int           `yaml:"connect_rate" doc:"new connections a second through one listener; 0 for no bound; further ones are refused with 0x9F or 503"`
	ConnectBurst   int           `yaml:"connect_burst" doc:"of these, how many may come at once"`
	PacketRate     int           `yaml:"packet_rate" doc:"packets or WebSocket messages a second of one device; 0 for no bound"`
	ByteRate       int           `yaml:"byte_rate" doc:"their bytes a second; 0 for no bound"`
	DeliverRate    int           `yaml:"deliver_rate" doc:"messages a second to one device; 0 for no bound; beyond it QoS 0 is dropped and QoS 1/2 waits in the queue"`
	RateBurst      time.Duration `yaml:"rate_burst" doc:"how much of packet_rate, byte_rate and deliver_rate may come at once: that of so long a time"`
	RatePolicy     string        `yaml:"rate_policy" doc:"what a device meets that is faster: pause (it is not read until it is within the rate again) or disconnect (0x96)"`
	ConnectionTime time.Duration `yaml:"connection_time" doc:"how old a connection may become: closed with 0xA0, up to a tenth earlier; 0 for no bound"`

	PerAddress PerAddress `yaml:"per_address" doc:"bounds on what comes from one address (IPv6: from one /64), whatever the listener"`
}

// Drain says how a stopping gateway sends its devices away.
type Drain struct {
	Rate int           `yaml:"rate" doc:"devices told per second; 0 for all at once"`
	Time time.Duration `yaml:"time" doc:"longest drain; whoever is left then is closed at once"`
}

// Log says what is logged.
type Log struct {
	Level  string `yaml:"level" doc:"debug, info, warn or error"`
	Format string `yaml:"format" doc:"json, pretty, or auto (pretty on a terminal)"`
}

// Default is the configuration of a gateway started with no arguments.
func Default() Config {
	return Config{
		Listeners: []string{"mqtt://127.0.0.1:1883", "ws://127.0.0.1:8083"},
		Admin:     "127.0.0.1:8080",
		Data:      "./gateway-data",
		Tenants:   []TenantCfg{},
		NATS: NATS{URL: "embedded", Listen: "127.0.0.1:4222", Anonymous: "loopback", Leaf: Leaf{Copy: true}, UplinkBytesMax: 8 << 20,
			InterestsMax: 1000, RequestExpiry: 10 * time.Second, NobodyTime: 250 * time.Millisecond},
		Auth: Auth{Anonymous: "loopback", Chain: noChain, Chains: []AuthProvider{}, Timeout: 3 * time.Second, Workers: 32, WaitingMax: 10_000, CacheMax: 100_000,
			CacheTime: time.Minute, DenyTime: 10 * time.Second, SessionOwner: true},
		ACL:   ACL{Default: aclAllow},
		Proxy: Proxy{Header: "off", Trusted: []string{}},
		TLS: TLSCfg{Certificates: []TLSCertificate{}, MinVersion: "1.2", ClientCerts: clientCertsNone, CRL: []string{}, Identity: identityCN,
			HandshakesMax: 1024, TicketRotation: 8 * time.Hour},
		MQTT: MQTT{
			KeepAliveMax: 20 * time.Minute, ReceiveMax: 256, InflightMax: 256, TopicAliasMax: 32, TopicAliasOutMax: 16, TopicLevelsMax: 64,
			TopicBytesMax: 1024, MaxQoS: 2, RetainAvailable: true, WildcardAvailable: true, MultiLevelAvailable: true, SharedAvailable: true,
			SubscriptionIDsAvailable: true, RetainedMax: 1_000_000,
			RetainedBytesMax: 256 << 20, FiltersMax: 256, SysInterval: 10 * time.Second, SharedStrategy: "round-robin", SharedGroups: []string{},
			ReasonStrings: true, RequestTopic: "{topic}/request/{call}", ResponseTopic: "{topic}/response/{call}",
		},
		WebSocket: WebSocket{TrustedProxies: []string{}, ForwardedHeader: "x-forwarded-for", PingInterval: 25 * time.Second, UpTopic: "devices/{client-id}/up", DownTopic: "devices/{client-id}/down"},
		Session: SessionCfg{
			ExpiryMax: 24 * time.Hour, QueueCountMax: 1000, QueueBytesMax: 1 << 20, QueuePolicy: "drop-oldest", LastValue: []string{}, Max: 1_000_000, BytesMax: 256 << 20,
		},
		Durable: Durable{
			Default: "auto", Routes: []string{}, Sessions: true, LogAge: 72 * time.Hour, LogBytes: 8 << 30, Sync: "page-cache", SyncInterval: time.Second,
		},
		Limits: Limits{
			ConnectBytesMax: 16 << 10, PacketBytesMax: 1 << 20, ConnectTime: 10 * time.Second, PacketTime: 30 * time.Second,
			BatchBytesMax: 1 << 20, StallTime: 30 * time.Second, SubscriptionsMax: 1000, RequestsMax: 16,
			ConnectBurst: 1000, RateBurst: 10 * time.Second, RatePolicy: ratePause,
			PerAddress: PerAddress{ConnectBurst: 100, Exempt: []string{"127.0.0.0/8", "::1"}},
		},
		Presence: PresenceCfg{Records: true, Events: true, Keep: 30 * 24 * time.Hour, LeaseTime: 10 * time.Second},

		Bans:     BansCfg{Shared: true, FlappingWindow: time.Minute, FlappingBan: 5 * time.Minute, DuplicateWait: 3 * time.Second},
		Overload: OverloadCfg{LagMax: 5 * time.Second},

		Drain: Drain{Rate: 5000, Time: 20 * time.Second},
		Log:   Log{Level: "info", Format: "auto"},
	}
}

// FieldError is one thing wrong with a Config: where, what, and how to mend it.
type FieldError struct {
	Path string // path of YAML names, such as listeners[1]
	What string
	Fix  string
}

// Error is one line for a person.
func (e *FieldError) Error() string {
	if e.Fix == "" {
		return e.Path + ": " + e.What
	}
	return e.Path + ": " + e.What + "; fix: " + e.Fix
}

// Validate returns everything that is wrong with c, not just the first thing.
func (c *Config) Validate() []*FieldError {
	v := validator{}
	if strings.ContainsFunc(c.Node, func(r rune) bool { return r <= ' ' || r == 0x7F }) {
		v.add("node", fmt.Sprintf("%q has spaces or control characters", c.Node), "a name such as gateway-1")
	}
	c.validateTLS(&v)
	c.validateListeners(&v)
	c.validateTenants(&v)
	c.validateProxies(&v)
	c.validateNATS(&v)
	c.validateRanges(&v)
	c.validateAutoSubscribe(&v)
	c.validateRewrites(&v)
	c.validateShared(&v)
	c.validateCallTopics(&v)
	c.validateLastValue(&v)
	c.validateDurable(&v)
	c.validatePresence(&v)
	c.validatePerAddress(&v)
	c.validateBans(&v)
	c.validateOverload(&v)
	if c.Admin != "" {
		if _, err := ResolveAddr(c.Admin); err != nil {
			v.add("admin", err.Error(), "an address such as 127.0.0.1:8080, or empty for none")
		}
	}
	v.oneOf("session.queue_policy", c.Session.QueuePolicy, "drop-oldest", "drop-newest", "disconnect")
	v.oneOf("nats.anonymous", c.NATS.Anonymous, "loopback", "anywhere")
	c.validateAuth(&v)
	c.validateACL(&v)
	v.oneOf("log.level", c.Log.Level, "debug", "info", "warn", "error")
	v.oneOf("log.format", c.Log.Format, "json", "pretty", "auto")
	for _, t := range []struct{ path, pattern string }{
		{"websocket.up_topic", c.WebSocket.UpTopic}, {"websocket.down_topic", c.WebSocket.DownTopic},
	} {
		if !strings.Contains(t.pattern, clientIDPlace) || strings.ContainsAny(t.pattern, "+#\x00") || bus.Reserved([]byte(t.pattern)) {
			v.add(t.path, fmt.Sprintf("%q is not a topic with %s in it", t.pattern, clientIDPlace), "a topic such as devices/"+clientIDPlace+"/up")
		}
	}
	return v.errs
}

// clientIDPlace stands for the client id in topic patterns.
const clientIDPlace = "{client-id}"

type validator struct{ errs []*FieldError }

func (v *validator) add(path, what, fix string) {
	v.errs = append(v.errs, &FieldError{path, what, fix})
}

func (v *validator) oneOf(path, got string, want ...string) {
	for _, w := range want {
		if got == w {
			return
		}
	}
	v.add(path, fmt.Sprintf("%q is none of %s", got, strings.Join(want, ", ")), "")
}

func (v *validator) between(path string, got, low, high int) {
	if got < low || got > high {
		v.add(path, fmt.Sprintf("%d is not between %d and %d", got, low, high), "")
	}
}

func (c *Config) validateListeners(v *validator) {
	if len(c.Listeners) == 0 {
		v.add("listeners", "no listener: no device could connect", "listeners: [mqtt://127.0.0.1:1883]")
	}
	for i, s := range c.Listeners {
		path := fmt.Sprintf("listeners[%d]", i)
		l, err := ParseListener(s)
		if err != nil {
			v.add(path, err.Error(), "mqtt://ADDR:PORT, ws://ADDR:PORT or any://ADDR:PORT; with TLS mqtts, wss or tls")
			continue
		}
		b := c.listenerBounds(v, path, l)
		c.expectProxy(v, path, &b)
		c.validateChain(v, path+".auth", b.Auth)
		c.validateTenant(v, path+".tenant", b.Tenant)
		c.validateTLSListener(v, path, l, &b)
		if c.Auth.Anonymous == "loopback" && !l.Addr.Addr().IsLoopback() && b.Auth == noChain && !b.provesDevices(l) {
			v.add(path, l.String()+" lets anybody on the network in, as devices log in without credentials",
				"listen on 127.0.0.1, have devices asked for who they are (auth.chains), give them users (auth.scram_file) and set auth.anonymous: nobody, or put the gateway behind something that authenticates and set auth.anonymous: anywhere")
		}
	}
}

func (c *Config) validateNATS(v *validator) {
	c.NATS.Leaf.validate(v, c.NATS.URL == "embedded")
	if c.NATS.URL == "embedded" {
		if c.SharePort {
			v.add("share_port", "gateways that share their addresses need one NATS, and this one has its own inside: devices would not hear each other",
				"run a NATS server and set nats.url: nats://HOST:4222 in all of them, or leave share_port out")
		}
		if c.NATS.Listen != "" {
			at, err := ResolveAddr(c.NATS.Listen)
			switch {
			case err != nil:
				v.add("nats.listen", err.Error(), "an address such as 127.0.0.1:4222, or empty for none")
			case c.NATS.Anonymous == "loopback" && !at.Addr().IsLoopback():
				v.add("nats.listen", c.NATS.Listen+" lets anybody on the network in, as the embedded NATS has no users; they could speak for and to every device",
					"listen on 127.0.0.1, use an external NATS with users, or keep others out and set nats.anonymous: anywhere")
			}
		}
		if c.Data == "" {
			v.add("data", "the embedded NATS needs a directory", "data: ./gateway-data")
		}
		return
	}
	for s := range strings.SplitSeq(c.NATS.URL, ",") {
		u, err := url.Parse(strings.TrimSpace(s))
		if err != nil || u.Host == "" || (u.Scheme != "nats" && u.Scheme != "tls") {
			v.add("nats.url", "not the address of a NATS server (it is not shown, as it may hold a password)", "embedded, or nats://HOST:4222")
		}
	}
	ways := 0
	for _, s := range []string{c.NATS.Creds, c.NATS.NKey, c.NATS.Token, c.NATS.User} {
		if s != "" {
			ways++
		}
	}
	if ways > 1 {
		v.add("nats", "creds, nkey, token and user are different ways to log in", "keep one of them")
	}
	if (c.NATS.TLS.Cert == "") != (c.NATS.TLS.Key == "") {
		v.add("nats.tls", "a client certificate needs both cert and key", "")
	}
}

func (c *Config) validateRanges(v *validator) {
	const gib = 1 << 30
	v.between("loops", c.Loops, 0, 1024)
	v.between("nats.uplink_bytes_max", c.NATS.UplinkBytesMax, 64<<10, gib)
	v.between("nats.interests_max", c.NATS.InterestsMax, 0, 1_000_000)
	v.lasts("nats.nobody_time", c.NATS.NobodyTime, 0)
	v.between("mqtt.inflight_max", c.MQTT.InflightMax, 1, 65535)
	v.between("mqtt.topic_levels_max", c.MQTT.TopicLevelsMax, 1, 128)
	v.between("mqtt.topic_bytes_max", c.MQTT.TopicBytesMax, 1, 65535)
	v.between("mqtt.retained_max", c.MQTT.RetainedMax, 0, gib)
	v.between("mqtt.retained_bytes_max", c.MQTT.RetainedBytesMax, 0, 1<<40)
	v.between("mqtt.filters_max", c.MQTT.FiltersMax, 1, 10_000)
	v.between("session.queue_count_max", c.Session.QueueCountMax, 0, 1_000_000)
	v.between("session.queue_bytes_max", c.Session.QueueBytesMax, 1, gib)
	v.between("session.bytes_max", c.Session.BytesMax, 1<<20, 1<<40)
	v.between("session.max", c.Session.Max, 1, gib)
	v.between("limits.connect_bytes_max", c.Limits.ConnectBytesMax, 128, 1<<20)
	v.between("limits.batch_bytes_max", c.Limits.BatchBytesMax, 4<<10, gib)
	v.between("limits.subscriptions_max", c.Limits.SubscriptionsMax, 1, 65535)
	v.between("limits.connections_max", c.Limits.ConnectionsMax, 0, gib)
	v.between("limits.requests_max", c.Limits.RequestsMax, 1, 10_000)
	v.between("drain.rate", c.Drain.Rate, 0, gib)
	for _, d := range []struct {
		path string
		got  time.Duration
		low  time.Duration
	}{
		{"nats.request_expiry", c.NATS.RequestExpiry, 0},
		{"mqtt.sys_interval", c.MQTT.SysInterval, 0}, {"mqtt.retained_expiry_max", c.MQTT.RetainedExpiryMax, 0},
		{"websocket.ping_interval", c.WebSocket.PingInterval, time.Second},
		{"limits.connect_time", c.Limits.ConnectTime, time.Second},
		{"limits.packet_time", c.Limits.PacketTime, time.Second}, {"limits.stall_time", c.Limits.StallTime, time.Second},
	} {
		v.seconds(d.path, d.got, d.low)
	}
	v.lasts("drain.time", c.Drain.Time, 0)
	bounds := c.bounds()
	bounds.validate(v, boundPath)
	if !plainText(c.MQTT.ResponseInformation, c.MQTT.TopicBytesMax) {
		v.add("mqtt.response_information", "not a text of at most mqtt.topic_bytes_max bytes without control characters", "a topic such as replies/"+clientIDPlace)
	}
}

// lasts holds a time against its bounds; false: it is outside.
func (v *validator) lasts(path string, got, low time.Duration) bool {
	if got < low || got > 10*365*24*time.Hour {
		v.add(path, fmt.Sprintf("%v is not between %v and ten years", got, low), "")
		return false
	}
	return true
}

// seconds wants a time that protocols and clocks here can express.
func (v *validator) seconds(path string, got, low time.Duration) {
	if v.lasts(path, got, low) && got%time.Second != 0 {
		v.add(path, fmt.Sprintf("%v is not a whole number of seconds", got), "")
	}
}
