#!/usr/bin/env python3
# Eclipse Paho for Python against a running gateway: pahopy.py HOST MQTT_PORT WS_PORT
# Prints one line for each behaviour; exits with 1 if any failed.
import os
import queue
import sys
import time

import paho.mqtt.client as mqtt
from paho.mqtt.packettypes import PacketTypes
from paho.mqtt.properties import Properties
from paho.mqtt.subscribeoptions import SubscribeOptions

HOST, MQTT_PORT, WS_PORT = sys.argv[1], int(sys.argv[2]), int(sys.argv[3])
PATIENCE = 15
VERSIONS = {"3.1": mqtt.MQTTv31, "3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}
TRANSPORTS = {"tcp": MQTT_PORT, "websockets": WS_PORT}
# Version 2 of the library wants to be told which of its two callback shapes is meant.
CALLBACKS = [mqtt.CallbackAPIVersion.VERSION1] if hasattr(mqtt, "CallbackAPIVersion") else []
RUN = str(os.getpid())
failed = 0


def properties(packet, **values):
    p = Properties(packet)
    for name, value in values.items():
        setattr(p, name, value)
    return p


class Client:
    """One connection whose answers are waited for; everything it receives is in .messages."""

    def __init__(self, name, version="5", transport="tcp", clean=True, inflight=None, will=None):
        self.id = f"py-{RUN}-{name}"
        self.version = version
        self.messages, self.connacks, self.subacks, self.ends = (queue.Queue() for _ in range(4))
        keeps = {} if version == "5" else {"clean_session": clean}
        self.c = mqtt.Client(*CALLBACKS, client_id=self.id, protocol=VERSIONS[version], transport=transport, **keeps)
        if transport == "websockets":
            self.c.ws_set_options(path="/mqtt")
        if inflight:
            self.c.max_inflight_messages_set(inflight)
        if will:
            self.c.will_set(*will)
        self.c.on_message = lambda c, u, m: self.messages.put(m)
        if version == "5":
            self.c.on_connect = lambda c, u, flags, rc, props: self.connacks.put((flags["session present"], rc, props))
            self.c.on_subscribe = lambda c, u, mid, codes, props: self.subacks.put([code.value for code in codes])
            self.c.on_disconnect = lambda c, u, rc, props=None: self.ends.put(rc)
        else:
            self.c.on_connect = lambda c, u, flags, rc: self.connacks.put((flags["session present"], rc, None))
            self.c.on_subscribe = lambda c, u, mid, granted: self.subacks.put(list(granted))
            self.c.on_disconnect = lambda c, u, rc: self.ends.put(rc)
        self.port = TRANSPORTS[transport]

    def connect(self, clean_start=True, props=None):
        if self.version == "5":
            self.c.connect(HOST, self.port, 30, clean_start=clean_start, properties=props)
        else:
            self.c.connect(HOST, self.port, 30)
        self.c.loop_start()
        self.present, self.code, self.told = self.connacks.get(timeout=PATIENCE)
        return self

    def subscribe(self, *args, **options):
        """Returns the codes of SUBACK."""
        code, _ = self.c.subscribe(*args, **options)
        equal(mqtt.MQTT_ERR_SUCCESS, code)
        return self.subacks.get(timeout=PATIENCE)

    def publish(self, topic, payload, qos=1, retain=False, props=None):
        info = self.c.publish(topic, payload, qos, retain, **({"properties": props} if props else {}))
        info.wait_for_publish(PATIENCE)
        if not info.is_published():
            raise AssertionError(f"no acknowledgement of {topic} at QoS {qos} in {PATIENCE} s")
        return self

    def next(self):
        try:
            return self.messages.get(timeout=PATIENCE)
        except queue.Empty:
            raise AssertionError(f"no message in {PATIENCE} s") from None

    def texts(self, n):
        return [self.next().payload.decode() for _ in range(n)]

    def leave(self, **props):
        self.c.disconnect(**({"properties": properties(PacketTypes.DISCONNECT, **props)} if props else {}))
        self.c.loop_stop()

    def die(self):
        """Ends the TCP connection without DISCONNECT."""
        self.c.loop_stop()
        self.c.socket().close()


def equal(want, got):
    if want != got:
        raise AssertionError(f"wanted {want!r}, got {got!r}")


def check(name, body, *args):
    global failed
    try:
        body(*args)
        print(f"ok    {name}", flush=True)
    except Exception as e:  # whatever goes wrong is a failure of this behaviour; the next ones are still told
        failed += 1
        print(f"FAIL  {name}: {type(e).__name__}: {e}", flush=True)


def each_qos(version, transport):
    for qos in range(3):
        topic = f"py/{RUN}/{version}/{transport}/{qos}"
        sub = Client(f"sub{qos}", version, transport).connect()
        equal([qos], sub.subscribe(topic, qos))
        pub = Client(f"pub{qos}", version, transport).connect()
        for n in range(5):
            pub.publish(topic, f"m{n}", qos)
        got = [sub.next() for _ in range(5)]
        equal([f"m{n}" for n in range(5)], [m.payload.decode() for m in got])
        equal({(topic, qos, False, False)}, {(m.topic, m.qos, bool(m.retain), m.dup) for m in got})
        pub.leave()
        sub.leave()


def retained(version, transport):
    topic = f"py/{RUN}/{version}/{transport}/kept"
    pub = Client("pub", version, transport).connect().publish(topic, "kept", retain=True)
    late = Client("late", version, transport).connect()
    late.subscribe(topic, 1)
    m = late.next()
    equal(("kept", True), (m.payload.decode(), bool(m.retain)))
    pub.publish(topic, b"", retain=True)
    equal((b"", False), (lambda m: (m.payload, bool(m.retain)))(late.next()))
    later = Client("later", version, transport).connect()
    later.subscribe(topic, 1)
    pub.publish(topic, "live")
    equal((b"live", False), (lambda m: (m.payload, bool(m.retain)))(later.next()))
    for c in (pub, late, later):
        c.leave()


def will(version, transport):
    topic = f"py/{RUN}/{version}/{transport}/will"
    watcher = Client("watcher", version, transport).connect()
    watcher.subscribe(topic, 2)
    # Who says goodbye leaves no will: the next message is that of the one who did not.
    Client("polite", version, transport, will=(topic, "polite", 1, False)).connect().leave()
    Client("dying", version, transport, will=(topic, "gone", 2, False)).connect().die()
    equal("gone", watcher.next().payload.decode())
    watcher.leave()


def large(version, transport):
    topic, payload = f"py/{RUN}/{version}/{transport}/large", os.urandom(700_000)
    c = Client("large", version, transport).connect()
    c.subscribe(topic, 2)
    c.publish(topic, payload, 2)
    equal(True, c.next().payload == payload)
    c.leave()


def small_window(version, transport):
    """300 messages through a window of 3, both ways for MQTT 5, which can tell its own to the server."""
    topic, count = f"py/{RUN}/{version}/{transport}/window", 300
    window = properties(PacketTypes.CONNECT, ReceiveMaximum=3) if version == "5" else None
    sub = Client("sub", version, transport).connect(props=window)
    sub.subscribe(topic, 2)
    pub = Client("pub", version, transport, inflight=3).connect()
    infos = [pub.c.publish(topic, str(n), 1 + n % 2) for n in range(count)]
    got = [int(text) for text in sub.texts(count)]
    for parity in range(2):  # order is promised among messages of one QoS [MQTT-4.6.0-5]
        equal(list(range(parity, count, 2)), [n for n in got if n % 2 == parity])
    infos[-1].wait_for_publish(PATIENCE)
    equal(0, sub.messages.qsize())
    pub.leave()
    sub.leave()


def shared_311():
    topic, count = f"py/{RUN}/shared", 60
    members = [Client(f"member{n}", "3.1.1").connect() for n in range(2)]
    for m in members:
        equal([1], m.subscribe(f"$share/py-{RUN}/{topic}", 1))
    pub = Client("pub", "3.1.1").connect()
    for n in range(count):
        pub.publish(topic, str(n))
    deadline, got = time.monotonic() + PATIENCE, [[], []]
    while sum(map(len, got)) < count and time.monotonic() < deadline:
        for m, own in zip(members, got):
            try:
                own.append(int(m.messages.get(timeout=0.05).payload))
            except queue.Empty:
                pass
    equal(list(range(count)), sorted(got[0] + got[1]))
    equal([True, True], [bool(own) for own in got])
    for c in (pub, *members):
        c.leave()


def refused(version):
    """A refused filter has its own code beside the others of the same packet [MQTT-3.9.3-1]."""
    deep, fine = "a/" * 100 + "a", f"py/{RUN}/{version}/fine"
    c = Client("refused", version).connect()
    if version == "5":
        want, filters = [1, 0x8F, 2], [(f, SubscribeOptions(qos)) for f, qos in ((fine, 1), (deep, 1), (fine + "2", 2))]
    else:
        want, filters = [1, 0x80, 2], [(fine, 1), (deep, 1), (fine + "2", 2)]
    equal(want, c.subscribe(filters))
    c.publish(fine, "still here")
    equal("still here", c.next().payload.decode())
    c.leave()


def session_5():
    topic = f"py/{RUN}/session"
    keep = properties(PacketTypes.CONNECT, SessionExpiryInterval=60)
    pub = Client("pub").connect()

    def arrive(clean_start, props=keep):
        return Client("kept").connect(clean_start, props)

    c = arrive(False)
    equal(False, bool(c.present))
    c.subscribe(topic, 2)
    c.leave()
    for n in range(10):
        pub.publish(topic, f"away {n}", 2)
    c = arrive(False)
    equal(True, bool(c.present))
    equal([f"away {n}" for n in range(10)], c.texts(10))
    c.leave(SessionExpiryInterval=0)  # changes its mind [MQTT-3.14.2.2.2]
    c = arrive(False)
    equal(False, bool(c.present))
    c.subscribe(topic, 1)
    c.leave()
    c = arrive(True)  # discards the session [MQTT-3.1.2-4]
    equal(False, bool(c.present))
    c.leave()
    c = arrive(False, None)  # the one of before is kept; this one asks for no expiry
    equal(True, bool(c.present))
    c.leave()
    c = arrive(False)
    equal(False, bool(c.present))
    c.leave(SessionExpiryInterval=0)
    pub.leave()


def session_311(version):
    topic = f"py/{RUN}/{version}/session"
    Client("kept", version, clean=True).connect().leave()
    c = Client("kept", version, clean=False).connect()
    c.subscribe(topic, 1)
    c.leave()
    pub = Client("pub", version).connect()
    for n in range(10):
        pub.publish(topic, f"away {n}")
    c = Client("kept", version, clean=False).connect()
    if version != "3.1":  # its CONNACK has no such flag
        equal(True, bool(c.present))
    equal([f"away {n}" for n in range(10)], c.texts(10))
    c.leave()
    c = Client("kept", version, clean=True).connect()
    equal(False, bool(c.present))
    c.leave()
    pub.leave()


def properties_5():
    topic = f"py/{RUN}/props"
    sub = Client("sub").connect()
    equal([1], sub.subscribe(topic, options=SubscribeOptions(1), properties=properties(PacketTypes.SUBSCRIBE, SubscriptionIdentifier=77)))
    pairs = [("b", "1"), ("a", "2"), ("b", "3"), ("ä", "€")]
    sent = properties(
        PacketTypes.PUBLISH, ContentType="text/plain", ResponseTopic="py/answers", CorrelationData=b"\x00\xff7",
        PayloadFormatIndicator=1, MessageExpiryInterval=100, UserProperty=pairs,
    )
    pub = Client("pub").connect().publish(topic, "body", props=sent)
    p = sub.next().properties
    equal(("text/plain", "py/answers", b"\x00\xff7", 1, pairs, [77]),
          (p.ContentType, p.ResponseTopic, p.CorrelationData, p.PayloadFormatIndicator, p.UserProperty, p.SubscriptionIdentifier))
    equal(True, 90 <= p.MessageExpiryInterval <= 100)
    pub.leave()
    sub.leave()


def options_5():
    topic = f"py/{RUN}/options"
    c = Client("options").connect()
    c.subscribe(topic, options=SubscribeOptions(1, noLocal=True))
    c.publish(topic, "own", retain=True)
    other = Client("other").connect().publish(topic, "other", retain=True)
    m = c.next()
    equal(("other", False), (m.payload.decode(), bool(m.retain)))
    c.subscribe(topic, options=SubscribeOptions(1, retainAsPublished=True, retainHandling=2))
    other.publish(topic, "again", retain=True)
    m = c.next()
    equal(("again", True), (m.payload.decode(), bool(m.retain)))
    other.publish(topic, b"", retain=True)
    c.leave()
    other.leave()


def taken_over(version):
    older = Client("same", version).connect()
    older.c.reconnect_delay_set(60, 60)  # else it takes the id back at once
    newer = Client("same", version).connect()
    # Version 1.6 of the library reads the reason of DISCONNECT only where a property follows it.
    equal(True, getattr(older.ends.get(timeout=PATIENCE), "value", 0x8E) in (0x8E, mqtt.MQTT_ERR_CONN_LOST))
    newer.subscribe(f"py/{RUN}/{version}/same", 1)
    newer.publish(f"py/{RUN}/{version}/same", "newer")
    equal("newer", newer.next().payload.decode())
    newer.leave()
    older.leave()


for version in VERSIONS:
    for transport in TRANSPORTS:
        name = f"Paho Python {version} {transport}"
        check(f"{name} QoS 0, 1, 2", each_qos, version, transport)
        check(f"{name} retained", retained, version, transport)
        check(f"{name} will", will, version, transport)
        check(f"{name} 700 kB payload", large, version, transport)
        check(f"{name} 300 messages, window of 3", small_window, version, transport)
for version in ("3.1.1", "5"):
    check(f"Paho Python {version} refused filter", refused, version)
for version in ("3.1", "3.1.1"):
    check(f"Paho Python {version} session kept and discarded", session_311, version)
for version in VERSIONS:
    check(f"Paho Python {version} taken over", taken_over, version)
check("Paho Python 3.1.1 shared subscription", shared_311)
check("Paho Python 5 session expiry, clean start, session present", session_5)
check("Paho Python 5 properties", properties_5)
check("Paho Python 5 subscription options", options_5)
sys.exit(1 if failed else 0)
