#!/usr/bin/env python3
# Eclipse Paho for Python over TLS against a running gateway: pahotls.py DIR MQTTS WSS TLS REQUIRED
# DIR has the certificates of certs.sh; the others are ports, the last that of mqtts that demands certificates of devices.
# Prints one line for each behaviour; exits with 1 if any failed.
import os
import queue
import ssl
import sys

import paho.mqtt.client as mqtt

DIR = sys.argv[1]
MQTTS, WSS, TLS, REQUIRED = map(int, sys.argv[2:])
PATIENCE = 15
VERSIONS = {"3.1": mqtt.MQTTv31, "3.1.1": mqtt.MQTTv311, "5": mqtt.MQTTv5}
# Version 2 of the library wants to be told which of its two callback shapes is meant.
CALLBACKS = [mqtt.CallbackAPIVersion.VERSION1] if hasattr(mqtt, "CallbackAPIVersion") else []
# What ssl names the alerts, by version, and its own refusal.
NO_CERTIFICATE = ("SSLV3_ALERT_HANDSHAKE_FAILURE", "TLSV13_ALERT_CERTIFICATE_REQUIRED")
REVOKED = ("TLSV1_ALERT_ACCESS_DENIED",)
UNKNOWN = ("TLSV1_ALERT_UNKNOWN_CA",)
NOT_VERIFIED = ("CERTIFICATE_VERIFY_FAILED",)
failed = 0


def path(name):
    return os.path.join(DIR, name)


def context(ca="ca.pem", cert=None, version=None, alpn=None):
    c = ssl.create_default_context(cafile=path(ca))
    if cert:
        c.load_cert_chain(path(cert + ".pem"), path(cert + ".key"))
    if version:
        c.minimum_version = c.maximum_version = version
    if alpn:
        c.set_alpn_protocols([alpn])
    return c


def round_trip(port, protocol=mqtt.MQTTv5, transport="tcp", **options):
    """A message to itself and a large one, at QoS 2."""
    events, messages = queue.Queue(), queue.Queue()
    c = mqtt.Client(*CALLBACKS, client_id=f"py-tls-{os.getpid()}", protocol=protocol, transport=transport)
    c.tls_set_context(context(**options))
    if transport == "websockets":
        c.ws_set_options(path="/mqtt")
    c.on_connect = lambda *args: events.put("connected")
    c.on_subscribe = lambda *args: events.put("subscribed")
    c.on_message = lambda c, u, m: messages.put(m.payload)
    c.connect("localhost", port, 30)
    c.loop_start()
    try:
        equal("connected", events.get(timeout=PATIENCE))
        c.subscribe(f"py/tls/{os.getpid()}", 2)
        equal("subscribed", events.get(timeout=PATIENCE))
        large = os.urandom(300_000)
        c.publish(f"py/tls/{os.getpid()}", b"short", 2)
        c.publish(f"py/tls/{os.getpid()}", large, 2)
        equal(b"short", messages.get(timeout=PATIENCE))
        equal(True, messages.get(timeout=PATIENCE) == large)
    finally:
        c.disconnect()
        c.loop_stop()


def refused(port, why, **options):
    """With TLS 1.3 a client learns only after its own end of the handshake that its certificate is not welcome: by an alert, and no CONNACK."""
    told = []
    c = mqtt.Client(*CALLBACKS, client_id="py-refused", protocol=mqtt.MQTTv5)
    c.tls_set_context(context(**options))
    c.on_connect = lambda *args: told.append("connected")
    try:
        c.connect("localhost", port, 30)
        while not told and c.loop(PATIENCE) == mqtt.MQTT_ERR_SUCCESS:
            pass
    except ssl.SSLError as e:
        told.append(e.reason)
    equal(1, len(told))
    equal(True, told[0] in why)


def equal(want, got):
    if want != got:
        raise AssertionError(f"wanted {want!r}, got {got!r}")


def check(name, body, *args, **options):
    global failed
    try:
        body(*args, **options)
        print(f"ok    Paho Python TLS {name}", flush=True)
    except Exception as e:  # whatever goes wrong is a failure of this behaviour; the next ones are still told
        failed += 1
        print(f"FAIL  Paho Python TLS {name}: {type(e).__name__}: {e}", flush=True)


for name, protocol in VERSIONS.items():
    check(f"{name} mqtts", round_trip, MQTTS, protocol)
    check(f"{name} wss", round_trip, WSS, protocol, "websockets")
    check(f"{name} one port, ALPN", round_trip, TLS, protocol, alpn="mqtt")
    check(f"{name} one port, WebSocket", round_trip, TLS, protocol, "websockets")
for version in (ssl.TLSVersion.TLSv1_2, ssl.TLSVersion.TLSv1_3):
    check(f"{version.name}", round_trip, MQTTS, version=version)
    check(f"{version.name} certificate", round_trip, REQUIRED, version=version, cert="device")
    check(f"{version.name} no certificate: refused", refused, REQUIRED, NO_CERTIFICATE, version=version)
    check(f"{version.name} revoked certificate: refused", refused, REQUIRED, REVOKED, version=version, cert="revoked")
    check(f"{version.name} certificate of a stranger: refused", refused, REQUIRED, UNKNOWN, version=version, cert="stranger")
check("gateway of an unknown authority: refused", refused, MQTTS, NOT_VERIFIED, ca="unknown.pem")
sys.exit(1 if failed else 0)
