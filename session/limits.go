package session

// QueuePolicy says what gives way when the queue of a session is full.
type QueuePolicy uint8

const (
	DropOldest QueuePolicy = iota // the message that waited longest; the default
	DropNewest                    // the message that just came
	Disconnect                    // the message that just came, and the connection, with 0x97
)

// Limits bound the sessions of one table. Zero takes the default.
type Limits struct {
	// QueueCountMax is how many messages may wait for one session, beside those in flight.
	// Beyond it QueuePolicy decides, counted as DropQueueFull. Default 1,000; negative: no message waits.
	QueueCountMax int
	// QueueBytesMax is how many bytes of topic, properties and payload may wait for one session.
	// Beyond it QueuePolicy decides, counted as DropQueueBytes. Default 1 MiB.
	QueueBytesMax int
	QueuePolicy   QueuePolicy
	// TableBytesMax is how many bytes of messages the table keeps for all its sessions. Beyond it nothing more is queued,
	// counted as DropTableBytes. Default 256 MiB.
	TableBytesMax int
	// QueueQoS0 also queues QoS 0 for a session that is away. Otherwise they are counted as DropOffline.
	QueueQoS0 bool
	// InflightMax is how many QoS 1 and 2 messages to one device may be unacknowledged; the device's own Receive
	// Maximum may be lower. Beyond it messages wait in the queue. Default 64.
	InflightMax uint16
	// InflightBytesMax is how many bytes of them the table keeps for one device, beside one message of any size.
	// Beyond it messages wait in the queue. Default 1 MiB.
	InflightBytesMax int
	// ReceiveMax is how many QoS 1 and 2 messages from one MQTT 5 device may be unacknowledged, as CONNACK told it. Beyond it the
	// device is closed with 0x93. Default 256; no class has more than the table.
	ReceiveMax uint16
	// ReceiveMaxV3 is the same for 3.1 and 3.1.1, whose devices cannot be told. Default 65,535 (every packet id);
	// the caller stops reading while Session.Unaccepted is high.
	ReceiveMaxV3 uint16
	// SubscriptionsMax is how many filters one session may hold. Beyond it SUBACK says 0x97. The work of a SUBSCRIBE
	// or UNSUBSCRIBE grows with it. Default 1,000, at most 65,535.
	SubscriptionsMax int
	// ExpiryMaxSec is the longest a session outlives its connection, whatever the device asked for.
	// Default 1,209,600 (14 days); Never: no cap.
	ExpiryMaxSec uint32
	// Strategy is how shared groups choose the member that gets a message; GroupStrategies is the same for single groups, by the
	// name between $share/ and the filter. Default RoundRobin.
	Strategy        Strategy
	GroupStrategies map[string]Strategy
	// GroupLive tells whether the shared group with this Interest has a live member in another table. nil: there is no other.
	GroupLive func(interest uint32) bool
	// Account counts what waits for sessions together, those of a class in all tables; nil: nobody does.
	Account Account
	// Classes are bounds of single sessions, by Connect.Class: QueueCountMax, QueueBytesMax, QueuePolicy, QueueQoS0, InflightMax, InflightBytesMax, ReceiveMax,
	// ReceiveMaxV3, SubscriptionsMax and Account. All else is the table's. The
	// classes that a session has one after the other have one account.
	Classes []Limits
	// SessionsMax is how many sessions a table holds, live and away. Beyond it Open refuses. 0: no limit.
	SessionsMax int
}

// Account counts what waits for some sessions of several tables. It is called on the goroutines of all of them.
type Account interface {
	// HasRoom tells whether so many bytes of topic, properties and payload more may wait. If not nothing is queued, counted as DropAccountBytes.
	HasRoom(bytes int) bool
	// Add counts bytes that wait, or with a negative number, that do no more.
	Add(bytes int)
}

// account counts bytes for those who count the session.
func (s *Session) account(bytes int) {
	if a := s.limits().Account; a != nil {
		a.Add(bytes)
	}
}

// hasRoom tells whether those who count the session have room.
func (l *Limits) hasRoom(bytes int) bool { return l.Account == nil || l.Account.HasRoom(bytes) }

// limits are those of a single session.
func (s *Session) limits() *Limits {
	if s.class == 0 {
		return &s.table.limits
	}
	return &s.table.limits.Classes[s.class-1]
}

// QueueMax is how many messages may wait for the session, and how many bytes of them.
func (s *Session) QueueMax() (count, bytes int) {
	l := s.limits()
	return l.QueueCountMax, l.QueueBytesMax
}

// Never as an expiry in seconds means that nothing ends by itself [MQTT 5, 3.1.2.11.2].
const Never = 0xFFFFFFFF

// withDefaults is a copy of l in which every zero is replaced.
func (l *Limits) withDefaults() Limits {
	d := *l
	if d.QueueCountMax == 0 {
		d.QueueCountMax = 1000
	}
	if d.QueueBytesMax == 0 {
		d.QueueBytesMax = 1 << 20
	}
	if d.TableBytesMax == 0 {
		d.TableBytesMax = 256 << 20
	}
	if d.InflightMax == 0 {
		d.InflightMax = 64
	}
	if d.InflightBytesMax == 0 {
		d.InflightBytesMax = 1 << 20
	}
	if d.ReceiveMax == 0 {
		d.ReceiveMax = 256
	}
	if d.ReceiveMaxV3 == 0 {
		d.ReceiveMaxV3 = 65535
	}
	if d.SubscriptionsMax == 0 {
		d.SubscriptionsMax = 1000
	}
	d.SubscriptionsMax = min(d.SubscriptionsMax, 65535)
	if d.ExpiryMaxSec == 0 {
		d.ExpiryMaxSec = 14 * 24 * 3600
	}
	d.Classes = make([]Limits, len(l.Classes))
	for i := range l.Classes {
		d.Classes[i] = l.Classes[i].withDefaults()
	}
	return d
}
