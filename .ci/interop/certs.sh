#!/usr/bin/env bash
# Certificates for tests, made by openssl: certs.sh DIR
#
#   ca.pem                   signs all of them but that of stranger
#   server, other            of the gateway, for localhost and 127.0.0.1, and for other.test
#   device, revoked          of devices; one of them is on the list crl.pem
#   stranger                 of a device, by an authority that nobody knows
#
# Each has NAME.pem and NAME.key, ECDSA P-256, good for a day.
set -eu
cd "$1"

key() { openssl ecparam -name prime256v1 -genkey -noout -out "$1.key"; }

authority() { # name
  key "$1"
  openssl req -x509 -new -key "$1.key" -subj "/CN=$1" -days 1 -out "$1.pem" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,keyCertSign,cRLSign
}

issue() { # authority, name, usage, subject alternative names
  key "$2"
  printf 'extendedKeyUsage=%s\nsubjectAltName=%s\n' "$3" "$4" >"$2.ext"
  openssl req -new -key "$2.key" -subj "/CN=$2" |
    openssl x509 -req -CA "$1.pem" -CAkey "$1.key" -CAcreateserial -days 1 -extfile "$2.ext" -out "$2.pem"
}

authority ca
issue ca server serverAuth DNS:localhost,IP:127.0.0.1
issue ca other serverAuth DNS:other.test
issue ca device clientAuth URI:urn:test:device
issue ca revoked clientAuth URI:urn:test:revoked
authority unknown
issue unknown stranger clientAuth URI:urn:test:stranger

: >index
echo 01 >number
cat >crl.conf <<'END'
[ca]
default_ca = own
[own]
database = index
crlnumber = number
default_md = sha256
default_crl_days = 1
crl_extensions = v2
[v2]
authorityKeyIdentifier = keyid
END
openssl ca -config crl.conf -cert ca.pem -keyfile ca.key -revoke revoked.pem
openssl ca -config crl.conf -cert ca.pem -keyfile ca.key -gencrl -out crl.pem

# What Chromium knows a certificate by.
openssl x509 -in server.pem -pubkey -noout | openssl pkey -pubin -outform der | openssl dgst -sha256 -binary | base64 >server.spki
