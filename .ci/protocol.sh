#!/usr/bin/env bash
# The list of the standards' statements beside the tests: every id of .ci/protocol/*.ids has one row in docs/protocol.md, every row that binds a server names a test that exists or says why none can, and every
# Test_v5_MQTT_… and Test_v311_MQTT_… stands in the row of its id. A few seconds; the Go tool is not needed.
set -u
cd "$(dirname "$0")/.."
shopt -s nullglob

ids=(.ci/protocol/*.ids)

tests() {
  git ls-files --cached --others --exclude-standard '*_test.go' | while read -r f; do [ -e "$f" ] && echo "$f"; done |
    xargs grep -hoE '^func Test_v(5|311)_MQTT_[A-Za-z0-9_]+\(' | sed -E 's/^func ([A-Za-z0-9_]+)\(/\1/'
}

{
  for f in "${ids[@]}"; do
    sed "s#^#id $(basename "$f" .ids) #" "$f"
  done
  tests | sed 's/^/test /'
  sed 's/^/line /' docs/protocol.md
} | awk '
function trim(s) { gsub(/^[ \t]+|[ \t]+$/, "", s); return s }
function wrong(what) { faults[++faultCount] = what }
# idOf is the id that a test is named after, such as "v5 MQTT-3.1.2-3".
function idOf(test,   p) {
  split(test, p, "_")
  return p[2] " " p[3] "-" p[4] "." p[5] "." p[6] "-" p[7]
}
# row checks the row of a statement.
function row(key, binds, proof,   rest, name, n, v, p) {
  if (!(key in known)) { wrong(key ": the standard has no such statement"); return }
  if (rows[key]++) { wrong(key ": more than one row"); return }
  if (binds !~ /^(server|client|both)$/) wrong(key ": binds \"" binds "\", not server, client or both")
  rest = proof
  while (match(rest, /Test_v[0-9]+_MQTT_[A-Za-z0-9_]+/)) {
    name = substr(rest, RSTART, RLENGTH)
    rest = substr(rest, RSTART + RLENGTH)
    n++
    named[name] = 1
    if (!(name in exists)) wrong(key ": " name " does not exist")
    else if (idOf(name) != key) wrong(key ": " name " is named after another statement")
  }
  split(key, v, " ")
  if (binds == "client") { clients[v[1]]++; if (n) answered[v[1]]++; return }
  if (n) { tested[v[1]]++; return }
  if (split(trim(rest), p, /[ \t]+/) < 4) wrong(key ": binds " binds ", but neither a test nor a reason stands in its row")
  else reasoned[v[1]]++
}
$1 == "id" { known[$2 " " $3] = 1; of[$2]++; order[++count] = $2 " " $3; next }
$1 == "test" { exists[$2] = 1; next }
$2 ~ /^##?$/ && /3\.1\.1/ { version = "v311"; next }
$2 ~ /^##?$/ && /MQTT 5/ { version = "v5"; next }
$2 == "|" {
  n = split(substr($0, 6), cell, "|")
  id = trim(cell[2])
  gsub(/[`\[\]]/, "", id)
  if (id ~ /^MQTT-[0-9.]+-[0-9]+$/) row(version " " id, trim(cell[4]), trim(cell[5]))
}
END {
  for (i = 1; i <= count; i++) if (!(order[i] in rows)) wrong(order[i] ": no row")
  for (name in exists) if (substr(name, 6, index(substr(name, 6), "_") - 1) in of && !(name in named)) wrong(idOf(name) ": its row does not name " name)
  for (v in of)
    printf "%s: %d statements, %d of them for a server: %d tested, %d with a reason why not; %d for clients only, the answer to %d of them tested\n",
      v, of[v], tested[v] + reasoned[v], tested[v], reasoned[v], clients[v], answered[v]
  for (i = 1; i <= faultCount; i++) print faults[i] | "sort -V"
  close("sort -V")
  if (faultCount) { printf "%d faults\n", faultCount; exit 1 }
}'
