/* Eclipse Paho for C (its synchronous client) against a running gateway: pahoc HOST MQTT_PORT WS_PORT
 * Prints one line for each behaviour; exits with 1 if any failed.
 *   gcc -o pahoc pahoc.c -lpaho-mqtt3c */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include <MQTTClient.h>

enum { PATIENCE_MS = 15000, CLIENTS_MAX = 8 };

/* A connection of the behaviour at hand. */
typedef struct {
	MQTTClient c;
	int version, present;
} client;

static char uri[128], transport[8]; /* of the behaviour at hand */
static int version;
static client clients[CLIENTS_MAX]; /* its connections, destroyed when it ends */
static int opened;
static jmp_buf failure; /* where a behaviour that fails goes on */
static char why[4096];
static int failures;

static void fail(const char *format, ...) {
	va_list list;
	va_start(list, format);
	vsnprintf(why, sizeof why, format, list);
	va_end(list);
	longjmp(failure, 1);
}

static void equal_int(const char *what, int want, int got) {
	if (want != got) fail("%s: wanted %d, got %d", what, want, got);
}

static void equal_text(const char *what, const char *want, const char *got) {
	if (strcmp(want, got) != 0) fail("%s: wanted '%s', got '%s'", what, want, got);
}

static const char *version_name(void) {
	return version == MQTTVERSION_5 ? "5" : version == MQTTVERSION_3_1 ? "3.1" : "3.1.1";
}

/* topic_of gives each behaviour, version and transport topics of their own. */
static const char *topic_of(const char *name) {
	static char topic[4][256];
	static int turn;
	char *t = topic[turn++ % 4];
	snprintf(t, 256, "c/%d/%s/%s/%s", (int)getpid(), version_name(), transport, name);
	return t;
}

static void add_number(MQTTProperties *p, enum MQTTPropertyCodes code, unsigned int n) {
	MQTTProperty one = {.identifier = code};
	one.value.integer4 = n;
	if (code == MQTTPROPERTY_CODE_PAYLOAD_FORMAT_INDICATOR) one.value.byte = (unsigned char)n;
	if (MQTTProperties_add(p, &one) != 0) fail("property %d can't be added", code);
}

static void add_text(MQTTProperties *p, enum MQTTPropertyCodes code, const char *name, const char *text) {
	MQTTProperty one = {.identifier = code};
	MQTTLenString value = {(int)strlen(text), (char *)text};
	one.value.data = value;
	if (code == MQTTPROPERTY_CODE_USER_PROPERTY) {
		MQTTLenString key = {(int)strlen(name), (char *)name};
		one.value.data = key;
		one.value.value = value;
	}
	if (MQTTProperties_add(p, &one) != 0) fail("property %d can't be added", code);
}

typedef struct {
	int clean, expiry; /* expiry in seconds, MQTT 5 only */
	MQTTClient_willOptions *will;
} how;

/* connect_as opens a connection; an id that is NULL is one of its own. */
static client *connect_as(const char *id, how h) {
	static int serial;
	char own[64];
	if (opened == CLIENTS_MAX) fail("too many clients in one behaviour");
	client *c = &clients[opened];
	*c = (client){.version = version};
	snprintf(own, sizeof own, "c-%d-%d", (int)getpid(), serial++);
	MQTTClient_createOptions create = MQTTClient_createOptions_initializer;
	create.MQTTVersion = version;
	equal_int("create", MQTTCLIENT_SUCCESS, MQTTClient_createWithOptions(&c->c, uri, id ? id : own, MQTTCLIENT_PERSISTENCE_NONE, NULL, &create));
	opened++;
	MQTTClient_connectOptions v3 = MQTTClient_connectOptions_initializer, v5 = MQTTClient_connectOptions_initializer5;
	if (version == MQTTVERSION_5) {
		v5.cleanstart = h.clean;
		v5.keepAliveInterval = 30;
		v5.will = h.will;
		MQTTProperties properties = MQTTProperties_initializer;
		if (h.expiry > 0) add_number(&properties, MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL, (unsigned int)h.expiry);
		MQTTResponse r = MQTTClient_connect5(c->c, &v5, &properties, NULL);
		equal_int("CONNACK", MQTTREASONCODE_SUCCESS, r.reasonCode);
		c->present = v5.returned.sessionPresent;
		MQTTResponse_free(r);
		MQTTProperties_free(&properties);
		return c;
	}
	v3.MQTTVersion = version;
	v3.cleansession = h.clean;
	v3.keepAliveInterval = 30;
	v3.will = h.will;
	equal_int("CONNACK", 0, MQTTClient_connect(c->c, &v3));
	c->present = v3.returned.sessionPresent;
	return c;
}

static client *join(void) { return connect_as(NULL, (how){.clean = 1}); }

static void leave(client *c) {
	int rc = c->version == MQTTVERSION_5 ? MQTTClient_disconnect5(c->c, 1000, MQTTREASONCODE_SUCCESS, NULL) : MQTTClient_disconnect(c->c, 1000);
	equal_int("DISCONNECT", MQTTCLIENT_SUCCESS, rc);
}

/* subscribe expects the QoS asked for in SUBACK; identifier 0 is none. */
static void subscribe(client *c, const char *filter, int qos, unsigned int identifier) {
	if (c->version != MQTTVERSION_5) {
		equal_int("SUBACK", MQTTCLIENT_SUCCESS, MQTTClient_subscribe(c->c, filter, qos));
		return;
	}
	MQTTProperties properties = MQTTProperties_initializer;
	if (identifier > 0) add_number(&properties, MQTTPROPERTY_CODE_SUBSCRIPTION_IDENTIFIER, identifier);
	MQTTResponse r = MQTTClient_subscribe5(c->c, filter, qos, NULL, &properties);
	equal_int("SUBACK", qos, r.reasonCode);
	MQTTResponse_free(r);
	MQTTProperties_free(&properties);
}

/* publish returns once the message is acknowledged as its QoS asks; properties may be NULL. */
static void publish(client *c, const char *topic, const void *payload, int length, int qos, int retained, MQTTProperties *properties) {
	MQTTClient_message m = MQTTClient_message_initializer;
	MQTTClient_deliveryToken token;
	m.payload = (void *)payload;
	m.payloadlen = length;
	m.qos = qos;
	m.retained = retained;
	if (properties) m.properties = *properties;
	if (c->version == MQTTVERSION_5) {
		MQTTResponse r = MQTTClient_publishMessage5(c->c, topic, &m, &token);
		equal_int("publish", MQTTCLIENT_SUCCESS, r.reasonCode);
		MQTTResponse_free(r);
	} else {
		equal_int("publish", MQTTCLIENT_SUCCESS, MQTTClient_publishMessage(c->c, topic, &m, &token));
	}
	if (qos > 0) equal_int("acknowledgement", MQTTCLIENT_SUCCESS, MQTTClient_waitForCompletion(c->c, token, PATIENCE_MS));
}

static void say(client *c, const char *topic, const char *text, int qos, int retained) {
	publish(c, topic, text, (int)strlen(text), qos, retained, NULL);
}

/* next takes the next message and compares its topic; the caller frees it. */
static MQTTClient_message *next(client *c, const char *topic) {
	MQTTClient_message *m = NULL;
	char *got = NULL;
	int length = 0;
	int rc = MQTTClient_receive(c->c, &got, &length, &m, PATIENCE_MS);
	if (m == NULL) fail("no message on %s in %d s (%d)", topic, PATIENCE_MS / 1000, rc);
	equal_text("topic", topic, got);
	MQTTClient_free(got);
	return m;
}

/* hear expects one message; qos below 0 is any. */
static void hear(client *c, const char *topic, const char *text, int qos, int retained) {
	MQTTClient_message *m = next(c, topic);
	char got[256];
	snprintf(got, sizeof got, "%.*s", m->payloadlen, (const char *)m->payload);
	equal_text("payload", text, got);
	if (qos >= 0) equal_int("QoS", qos, m->qos);
	equal_int("RETAIN", retained, m->retained);
	equal_int("DUP", 0, m->dup);
	MQTTClient_freeMessage(&m);
}

static void each_qos(void) {
	client *a = join(), *b = join();
	for (int qos = 0; qos < 3; qos++) {
		char name[16], text[16];
		snprintf(name, sizeof name, "qos%d", qos);
		const char *up = topic_of(name), *down = topic_of("answer");
		subscribe(a, up, qos, 0);
		subscribe(b, down, qos, 0);
		for (int n = 0; n < 4; n++) {
			snprintf(text, sizeof text, "m%d", n);
			say(b, up, text, qos, 0);
			hear(a, up, text, qos, 0);
			say(a, down, text, qos, 0);
			hear(b, down, text, qos, 0);
		}
	}
	leave(a);
	leave(b);
}

static void retained(void) {
	const char *topic = topic_of("kept");
	client *a = join();
	say(a, topic, "kept", 1, 1);
	client *late = join();
	subscribe(late, topic, 1, 0);
	hear(late, topic, "kept", 1, 1);
	say(a, topic, "", 1, 1);
	client *later = join();
	subscribe(later, topic, 1, 0);
	say(a, topic, "live", 1, 0);
	hear(later, topic, "live", 1, 0); /* and nothing before it: the kept one is deleted */
	leave(a);
	leave(late);
	leave(later);
}

/* will: a process of its own connects and dies. */
static void will(void) {
	const char *topic = topic_of("will");
	client *watcher = join();
	subscribe(watcher, topic, 2, 0);
	MQTTClient_willOptions w = MQTTClient_willOptions_initializer;
	w.topicName = topic;
	w.message = "gone";
	w.qos = 2;
	int ready[2];
	if (pipe(ready) != 0) fail("no pipe");
	pid_t child = fork();
	if (child == 0) {
		if (setjmp(failure) == 0) {
			connect_as("c-dying", (how){.clean = 1, .will = &w});
			_exit(write(ready[1], "1", 1) == 1 ? 0 : 1);
		}
		fprintf(stderr, "the dying client: %s\n", why);
		_exit(1);
	}
	char one;
	close(ready[1]);
	int told = (int)read(ready[0], &one, 1);
	close(ready[0]);
	waitpid(child, NULL, 0);
	equal_int("the dying client is connected", 1, told);
	hear(watcher, topic, "gone", 2, 0);
	leave(watcher);
}

static void session(void) {
	const char *topic = topic_of("session");
	char id[64], text[16];
	snprintf(id, sizeof id, "c-kept-%s-%s-%d", version_name(), transport, (int)getpid());
	how keep = {.clean = 0, .expiry = 60};
	client *c = connect_as(id, keep);
	equal_int("session present at first", 0, c->present);
	subscribe(c, topic, 2, 0);
	leave(c);
	client *other = join();
	for (int n = 0; n < 8; n++) {
		snprintf(text, sizeof text, "away %d", n);
		say(other, topic, text, 2, 0);
	}
	c = connect_as(id, keep);
	/* 3.1 has no such flag, and for 5 this client leaves it 0 up to 1.3.13 (eclipse-paho/paho.mqtt.c#1439). */
	if (version == MQTTVERSION_3_1_1) equal_int("session present", 1, c->present);
	for (int n = 0; n < 8; n++) {
		snprintf(text, sizeof text, "away %d", n);
		hear(c, topic, text, 2, 0);
	}
	leave(c);
	c = connect_as(id, (how){.clean = 1});
	equal_int("session present after a clean start", 0, c->present);
	leave(c);
	leave(other);
}

static void large(void) {
	enum { LENGTH = 900000 };
	static unsigned char payload[LENGTH];
	for (int n = 0; n < LENGTH; n++) payload[n] = (unsigned char)(n * 7 + n / 251);
	const char *topic = topic_of("large");
	client *c = join();
	subscribe(c, topic, 1, 0);
	publish(c, topic, payload, LENGTH, 1, 0, NULL);
	MQTTClient_message *m = next(c, topic);
	equal_int("length", LENGTH, m->payloadlen);
	equal_int("difference", 0, memcmp(payload, m->payload, LENGTH));
	MQTTClient_freeMessage(&m);
	leave(c);
}

static void equal_property(const MQTTProperties *p, enum MQTTPropertyCodes code, const char *want) {
	MQTTProperty *one = MQTTProperties_getProperty((MQTTProperties *)p, code);
	char got[256];
	if (one == NULL) fail("%s is missing", MQTTPropertyName(code));
	snprintf(got, sizeof got, "%.*s", one->value.data.len, one->value.data.data);
	equal_text(MQTTPropertyName(code), want, got);
}

static void properties(void) {
	static const char *pairs[][2] = {{"b", "1"}, {"a", "2"}, {"b", "3"}, {"\xc3\xa4", "\xe2\x82\xac"}};
	const char *topic = topic_of("properties");
	client *a = join(), *b = join();
	subscribe(a, topic, 2, 77);
	MQTTProperties sent = MQTTProperties_initializer;
	for (int n = 0; n < 4; n++) add_text(&sent, MQTTPROPERTY_CODE_USER_PROPERTY, pairs[n][0], pairs[n][1]);
	add_text(&sent, MQTTPROPERTY_CODE_RESPONSE_TOPIC, NULL, "c/answers");
	add_text(&sent, MQTTPROPERTY_CODE_CORRELATION_DATA, NULL, "c-7");
	add_text(&sent, MQTTPROPERTY_CODE_CONTENT_TYPE, NULL, "text/plain");
	add_number(&sent, MQTTPROPERTY_CODE_PAYLOAD_FORMAT_INDICATOR, 1);
	add_number(&sent, MQTTPROPERTY_CODE_MESSAGE_EXPIRY_INTERVAL, 100);
	for (int qos = 0; qos < 3; qos++) {
		publish(b, topic, "body", 4, qos, 0, &sent);
		MQTTClient_message *m = next(a, topic);
		equal_property(&m->properties, MQTTPROPERTY_CODE_RESPONSE_TOPIC, "c/answers");
		equal_property(&m->properties, MQTTPROPERTY_CODE_CORRELATION_DATA, "c-7");
		equal_property(&m->properties, MQTTPROPERTY_CODE_CONTENT_TYPE, "text/plain");
		equal_int("payload format", 1, MQTTProperties_getNumericValue(&m->properties, MQTTPROPERTY_CODE_PAYLOAD_FORMAT_INDICATOR));
		equal_int("subscription identifier", 77, MQTTProperties_getNumericValue(&m->properties, MQTTPROPERTY_CODE_SUBSCRIPTION_IDENTIFIER));
		int expiry = MQTTProperties_getNumericValue(&m->properties, MQTTPROPERTY_CODE_MESSAGE_EXPIRY_INTERVAL);
		if (expiry < 80 || expiry > 100) fail("message expiry: wanted 100 or a little less, got %d", expiry);
		equal_int("user properties", 4, MQTTProperties_propertyCount(&m->properties, MQTTPROPERTY_CODE_USER_PROPERTY));
		for (int n = 0; n < 4; n++) {
			MQTTProperty *p = MQTTProperties_getPropertyAt(&m->properties, MQTTPROPERTY_CODE_USER_PROPERTY, n);
			char got[64], want[64];
			snprintf(got, sizeof got, "%.*s=%.*s", p->value.data.len, p->value.data.data, p->value.value.len, p->value.value.data);
			snprintf(want, sizeof want, "%s=%s", pairs[n][0], pairs[n][1]);
			equal_text("user property", want, got);
		}
		MQTTClient_freeMessage(&m);
	}
	MQTTProperties_free(&sent);
	leave(a);
	leave(b);
}

/* expiry: of a session that asks for none, or gives it up as it goes, nothing is left: what was published meanwhile does
 * not come. */
static void expiry(void) {
	const char *topic = topic_of("expiry");
	char id[64];
	snprintf(id, sizeof id, "c-expiry-%s-%d", transport, (int)getpid());
	client *other = join();
	for (int asked = 0; asked <= 60; asked += 60) {
		client *c = connect_as(id, (how){.clean = 0, .expiry = asked});
		subscribe(c, topic, 1, 0);
		MQTTProperties none = MQTTProperties_initializer;
		if (asked > 0) add_number(&none, MQTTPROPERTY_CODE_SESSION_EXPIRY_INTERVAL, 0);
		equal_int("DISCONNECT", MQTTCLIENT_SUCCESS, MQTTClient_disconnect5(c->c, 1000, MQTTREASONCODE_SUCCESS, &none));
		MQTTProperties_free(&none);
		say(other, topic, "away", 1, 0);
		c = connect_as(id, (how){.clean = 0, .expiry = 60});
		subscribe(c, topic, 1, 0);
		say(other, topic, "live", 1, 0);
		hear(c, topic, "live", 1, 0);
		leave(c);
		leave(connect_as(id, (how){.clean = 1}));
	}
	leave(other);
}

static void check(const char *name, void (*body)(void)) {
	opened = 0;
	if (setjmp(failure) == 0) {
		body();
		printf("ok    Paho C %s %s %s\n", version_name(), transport, name);
	} else {
		failures++;
		printf("FAIL  Paho C %s %s %s: %s\n", version_name(), transport, name, why);
	}
	for (int n = 0; n < opened; n++) MQTTClient_destroy(&clients[n].c);
	fflush(stdout);
}

int main(int argc, char **argv) {
	if (argc != 4) {
		fprintf(stderr, "usage: pahoc HOST MQTT_PORT WS_PORT\n");
		return 2;
	}
	static const int versions[] = {MQTTVERSION_3_1, MQTTVERSION_3_1_1, MQTTVERSION_5};
	for (int v = 0; v < 3; v++) {
		version = versions[v];
		for (int web = 0; web < 2; web++) {
			snprintf(transport, sizeof transport, "%s", web ? "ws" : "tcp");
			snprintf(uri, sizeof uri, web ? "ws://%s:%s/mqtt" : "tcp://%s:%s", argv[1], argv[2 + web]);
			check("QoS 0, 1, 2 both ways", each_qos);
			check("retained", retained);
			check("will", will);
			check("session kept, messages queued while away", session);
			check("900 kB payload", large);
			if (version == MQTTVERSION_5) {
				check("properties", properties);
				check("session expiry", expiry);
			}
		}
	}
	return failures ? 1 : 0;
}
