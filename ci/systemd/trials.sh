#!/usr/bin/env bash
# The trials of ci/systemd.sh between the blocks of deploy/systemd/README.md, inside the machine that it has started: each
# function is one trial. `trials.sh NAME [ARGUMENTS]` runs it.
set -euo pipefail

CHANNEL=202105102694809992
SERVICES='ingress media timeline normalizer@1 sender@1'

ok() { printf 'ok   %s\n' "$*"; }
fail() { printf 'FAIL %s\n' "$*" >&2; exit 1; }
until_true() {
  local tries=0
  until "$@" >/dev/null 2>&1; do
    tries=$((tries + 1))
    [ "$tries" -lt 150 ] || return 1
    sleep 0.2
  done
}

# The operator's settings, as the README says.
if [ -e /etc/imchannel/operator.env ]; then
  set -a
  . /etc/imchannel/imchannel.env
  . /etc/imchannel/operator.env
  set +a
fi

health() { # UNIT-NAME
  local port
  case $1 in
    ingress) port=9090 ;;
    media) port=9091 ;;
    timeline) port=9092 ;;
    normalizer@*) port=911${1#*@} ;;
    sender@*) port=912${1#*@} ;;
  esac
  "imchannel-${1%@*}" health --admin-listen "127.0.0.1:$port"
}
pid_of() { systemctl show --property MainPID --value "imchannel-$1"; }

# Use a simulated account on this machine where the README says to set your own values.
own_values() {
  sed -i 's|https://xxxx.api.infobip.com|http://127.0.0.1:8090|' /etc/imchannel/channels.toml
  sed -i 's|https://media.example|http://127.0.0.1:8081|' /etc/imchannel/imchannel.env
  echo 'IMCHANNEL_INFOBIP_HOSTS=127.0.0.1' >>/etc/imchannel/imchannel.env
  own_account
}

# Every service is ready, with the given numbers of normalizers and senders.
ready() {
  local unit instance units=$SERVICES
  for ((instance = 2; instance <= ${1:-1}; instance++)); do units+=" normalizer@$instance sender@$instance"; done
  for unit in $units; do until_true health "$unit" || fail "imchannel-$unit is not ready: $(health "$unit" 2>&1)"; done
}

sends() {
  local shown
  shown=$(timeout 30 imchannel send --channel "$CHANNEL" --to 8618257518838 --text Hello 2>&1) || true
  case $shown in *'send ACCEPTED'*) ;; *) fail "a command was not sent: $shown" ;; esac
  ok "a command goes out: ACCEPTED"
}

# No secret is in an environment or on a command line, and no service can read another's, or the common folder.
keeps_secrets() {
  local unit pid secret sender uid
  for unit in nats redis $SERVICES; do
    pid=$(pid_of "$unit")
    while IFS= read -r -d '' secret; do
      if tr '\0' '\n' <"/proc/$pid/environ" | cat - <(tr '\0' '\n' <"/proc/$pid/cmdline") | grep -qFf "$secret"; then
        fail "imchannel-$unit has $secret in its environment or on its command line"
      fi
    done < <(find /etc/imchannel/secrets -type f \( -name '*.nk' -o -name '*.password' -o -name '*.key' -o -name '*.token' -o \
      -name infobip_api_key \) -print0)
  done
  ok "no secret in an environment or on a command line"
  sender=$(pid_of sender@1)
  uid=$(stat --format %u "/proc/$sender")
  as_sender() { nsenter --target "$sender" --mount setpriv --reuid "$uid" --regid "$uid" --clear-groups "$@" >/dev/null 2>&1; }
  as_sender cat /run/credentials/imchannel-sender@1.service/nats.nk || fail "the sender cannot read its own seed"
  as_sender cat /run/imchannel/channels/infobip_api_key || fail "the sender cannot read the API key"
  for secret in /run/credentials/imchannel-ingress.service/nats.nk /run/credentials/imchannel-normalizer@1.service/nats.nk \
    /etc/imchannel/secrets/nats/ingress.nk /etc/imchannel/secrets/nats/sender.nk /etc/imchannel/channels.toml \
    "/proc/$(pid_of ingress)/environ" /var/lib/imchannel/nats/jetstream; do
    [ -e "$secret" ] || fail "there is no $secret"
    if as_sender cat "$secret" || as_sender ls "$secret/"; then fail "the sender's user reads $secret"; fi
  done
  if as_sender touch /var/lib/imchannel/x || as_sender touch /etc/x || as_sender touch /usr/local/bin/x; then fail "the sender's user writes outside"; fi
  ok "the sender reads only its own credentials and the channels' secrets, and writes nowhere"
}

# The customer of `sends` is erased, with the drop-in of the README.
erases() {
  local said number=8618257518838 status=0
  known() { imchannel trace --to "$number" >/dev/null 2>&1; [ $? != 1 ]; }
  until_true known || fail "the timeline has no message of the customer: $(imchannel trace --to "$number" 2>&1)"
  said=$(echo "$number" | timeout 60 imchannel erase --to - --reason check --force --yes 2>&1) || fail "imchannel erase: $said"
  case $said in *'erased the customer …38'*'not overwritten now'*) ;; *) fail "imchannel erase: $said" ;; esac
  case $said in *"$number"*) fail "imchannel erase prints the number" ;; esac
  imchannel trace --to "$number" >/dev/null 2>&1 || status=$?
  [ "$status" = 1 ] || fail "the timeline still has messages of the customer"
  [ -e /run/credentials/imchannel-timeline.service/eraser.nk ] || fail "the timeline has no seed of the eraser as a credential"
  ok "a customer is erased by the drop-in as printed"
}

# Ingress starts while NATS is stopped: a webhook of a BSP that does not retry is answered 200, and comes out when NATS is back.
spools() {
  local status
  cat >>/etc/imchannel/channels.toml <<'CHANNEL'

[[channel]]
id = "koomessage-spooled"
bsp = "koomessage"
tenant = "tenantname"
webhook = [{ password = "example-koomessage-secret" }]
CHANNEL
  systemctl start imchannel-setup
  is_kept() { grep -q koomessage-spooled /var/lib/imchannel-ingress/registry/registry.json; }
  until_true is_kept || fail "ingress does not keep its channels in /var/lib/imchannel-ingress"
  [ "$(stat --dereference --format %a /var/lib/imchannel-ingress)" = 700 ] || fail "other users enter the folder of the spool"
  systemctl stop imchannel-nats
  systemctl restart imchannel-ingress
  until_true health ingress || fail "ingress is not ready without NATS: $(health ingress 2>&1)"
  status=$(curl --silent --output /dev/null --write-out '%{http_code}' http://127.0.0.1:8080/social/on/whatsapp/koomessage/report/koomessage-spooled \
    -H 'Authorization: example-koomessage-secret' -H 'Content-Type: application/json' \
    -d '{"message_id":"spooled-1","sender":"441134960001","user_number":"441134960000","status":"delivered"}')
  [ "$status" = 200 ] || fail "a webhook without NATS is answered $status"
  systemctl start imchannel-nats
  ready "${1:-1}"
  is_out() { imchannel tail reports --from-beginning --no-follow | grep -q spooled-1; }
  until_true is_out || fail "the spooled webhook did not come out"
  ok "ingress starts without NATS, spools a webhook, and publishes it when NATS is back"
}

is_restarted() {
  local unit before
  for unit in nats redis $SERVICES; do
    before=$(pid_of "$unit")
    kill -9 "$before"
    is_another() { [ "$(pid_of "$unit")" != "$before" ] && systemctl is-active "imchannel-$unit"; }
    until_true is_another || fail "imchannel-$unit was not restarted"
  done
  ready
  [ "$(systemctl show --property TimeoutStopUSec --value imchannel-ingress)" = 30s ] || fail "the time limit of a stop"
  systemctl reload imchannel-nats
  ready
  ok "each unit that is killed with SIGKILL restarts, and is ready"
}

verifies() {
  local said
  said=$(systemd-analyze verify /etc/systemd/system/imchannel*.service imchannel-normalizer@1.service imchannel-sender@1.service \
    /etc/systemd/system/imchannel.target 2>&1) || fail "systemd-analyze verify: $said"
  [ -z "$said" ] || fail "systemd-analyze verify: $said"
  ok "systemd-analyze verify"
}

# A certificate with the drop-in of the README.
speaks_https() {
  local drop_in=/etc/systemd/system/imchannel-ingress.service.d/override.conf
  mkdir /etc/imchannel/tls /etc/systemd/system/imchannel-ingress.service.d
  openssl req -x509 -newkey ec -pkeyopt ec_paramgen_curve:P-256 -nodes -days 1 -subj /CN=localhost -addext subjectAltName=IP:127.0.0.1 \
    -keyout /etc/imchannel/tls/server.key -out /etc/imchannel/tls/server.pem 2>/dev/null
  # Of the drop-ins that the README prints, the one with the certificate.
  awk '/^```ini$/ {block = ""; inside = 1; next} /^```$/ && inside {inside = 0; if (block ~ /TLS_CERTIFICATE/) printf "%s", block} inside {block = block $0 "\n"}' \
    /src/deploy/systemd/README.md >"$drop_in"
  systemctl daemon-reload
  systemctl restart imchannel-ingress
  until_true health ingress
  [ "$(curl --silent --cacert /etc/imchannel/tls/server.pem --output /dev/null --write-out '%{http_code}' -X POST \
    "https://127.0.0.1:8080/social/on/whatsapp/infobip/report/$CHANNEL")" = 401 ] || fail "ingress does not serve HTTPS"
  rm -r "$(dirname "$drop_in")"
  systemctl daemon-reload
  systemctl restart imchannel-ingress
  until_true health ingress
  ok "HTTPS by the drop-in as printed"
}

# Webhooks arrive while everything is stopped and restarted.
stops_without_loss() {
  local unit status=0
  imchannel simulate webhooks --channels /etc/imchannel/channels.toml --gateway http://127.0.0.1:8080 --rate 100 --count 1200 --speed 20 \
    --bsp infobip >/tmp/simulate.log 2>&1 &
  local simulator=$!
  sleep 4
  systemctl stop imchannel.target 'imchannel-*'
  for unit in ingress media timeline normalizer@1 normalizer@2 sender@1 sender@2 nats redis; do
    [ "$(systemctl show --property Result --value "imchannel-$unit")" = success ] || fail "imchannel-$unit did not stop gracefully"
    [ "$(systemctl show --property ActiveState --value "imchannel-$unit")" = inactive ] || fail "imchannel-$unit still runs"
  done
  systemctl start imchannel.target
  wait "$simulator" || status=$?
  [ "$status" = 0 ] || fail "webhooks over a stop: exit code $status: $(tail -n 5 /tmp/simulate.log)"
  ready 2
  ok "stop and start of imchannel.target under 100 webhooks/s: $(grep 'ledger clean' /tmp/simulate.log)"
}

before_reboot() {
  printf '%%PDF-1.4 a file that is to outlive a reboot' >/root/kept.pdf
  imchannel media put /root/kept.pdf --channel "$CHANNEL" | grep -oE 'http://[^ "]+' | head -n 1 >/root/kept.url
  [ -s /root/kept.url ] || fail "no file was uploaded"
  imchannel tail reports --from-beginning --no-follow --json | wc -l >/root/kept.count
}

after_reboot() {
  ready 2
  curl --fail --silent --show-error "$(cat /root/kept.url)" | cmp - /root/kept.pdf || fail "the file has changed after a reboot"
  [ "$(imchannel tail reports --from-beginning --no-follow --json | wc -l)" = "$(cat /root/kept.count)" ] || fail "events are missing after a reboot"
  [ "$(systemctl show --property ExecMainStartTimestampMonotonic --value imchannel-setup)" = 0 ] || fail "setup ran at boot"
  ok "after a reboot everything is ready by itself, with its files and $(cat /root/kept.count) reports; setup did not run"
  # The transient unit ended with the reboot.
  own_account
}
own_account() {
  systemd-run --quiet --unit simulated-infobip imchannel simulate infobip --channels /etc/imchannel/channels.toml \
    --listen 127.0.0.1:8090 --gateway http://127.0.0.1:8080 --infobip-hosts 127.0.0.1 \
    --api-key-file /etc/imchannel/secrets/channels/infobip_api_key
}

# says UNIT TEXT: the unit's journal has the text since `since`.
says() {
  is_said() { journalctl --no-pager --output cat --unit "imchannel-$1" --after-cursor "$cursor" | grep -qF "$2"; }
  until_true is_said "$1" "$2" || fail "the journal of imchannel-$1 does not say: $2
$(journalctl --no-pager --output cat --unit "imchannel-$1" --after-cursor "$cursor" | tail -n 12)"
}
since() { cursor=$(journalctl --no-pager --lines 1 --show-cursor --quiet | sed -n 's/^-- cursor: //p'); }

# Common mistakes: the journal shows the reason, and a service that did not start works after the correction without another step.
names_faults() {
  local secrets=/etc/imchannel/secrets
  systemctl disable --quiet --now imchannel-normalizer@2 imchannel-sender@2

  since
  mv "$secrets/nats/ingress.nk" /root/seed
  systemctl restart imchannel-ingress 2>/dev/null && fail "ingress starts without its seed"
  says ingress 'status=243/CREDENTIALS'
  echo nothing >"$secrets/nats/ingress.nk"
  says ingress 'not a NATS user seed'
  cp "$secrets/nats/normalizer.nk" "$secrets/nats/ingress.nk"
  says ingress 'Permissions Violation for Subscription to "_INBOX_imchannel-ingress'
  imchannel secrets generate /root/another >/dev/null
  cp /root/another/nats/ingress.nk "$secrets/nats/ingress.nk"
  systemctl restart imchannel-ingress
  says ingress 'uthorization'
  mv /root/seed "$secrets/nats/ingress.nk"
  systemctl restart imchannel-ingress

  since
  cp "$secrets/redis/media.password" /root/password
  echo wrong-password-of-media >"$secrets/redis/media.password"
  systemctl restart imchannel-media
  says media 'Redis returned an error: WRONGPASS'
  mv /root/password "$secrets/redis/media.password"
  systemctl restart imchannel-media

  since
  chmod 0600 "$secrets/channels/infobip_api_key"
  systemctl restart imchannel-sender@1
  says sender@1 'is halted: no key: cannot read file:infobip_api_key: Permission denied'
  chmod 0644 "$secrets/channels/infobip_api_key"
  says sender@1 'sends again'

  since
  systemctl stop imchannel-ingress
  systemd-run --quiet --unit thief redis-server --port 8080 --save ''
  until_true curl --silent http://127.0.0.1:8080 || true
  systemctl start imchannel-ingress 2>/dev/null && fail "ingress starts on a used port"
  says ingress 'cannot listen on 127.0.0.1:8080: Address already in use'
  systemctl stop thief

  since
  echo 'IMCHANNEL_SHUTDOWN_GRACE_PERIOD=ten' >/etc/imchannel/normalizer.env
  systemctl restart imchannel-normalizer@1 2>/dev/null && fail "a normalizer starts with a bad setting"
  says normalizer@1 "IMCHANNEL_SHUTDOWN_GRACE_PERIOD): 'ten' is not a duration"
  rm /etc/imchannel/normalizer.env
  ready

  systemctl stop imchannel.target 'imchannel-*'
  rm -rf /var/lib/imchannel/nats
  since
  systemctl start imchannel.target
  for unit in ingress normalizer@1 sender@1; do says "$unit" 'run `imchannel setup` of this version'; done
  systemctl start imchannel-setup
  ready
  ok "missing, wrong and foreign credentials, an unreadable key, a used port, a bad setting, no streams: the journal reports each"
}

is_removed() {
  local left
  left=$(systemctl list-units --all --no-legend --plain 'imchannel*.service' 'imchannel*.target')
  [ -z "$left" ] || fail "units remain: $left
$(journalctl --no-pager --lines 30 --unit "${left%% *}")"
  for left in /etc/imchannel /var/lib/imchannel /var/lib/imchannel-ingress /var/lib/private/imchannel-ingress /etc/systemd/system/multi-user.target.wants/imchannel.target; do
    if [ -e "$left" ] || [ -L "$left" ]; then fail "$left remains"; fi
  done
  ok "removed as printed: no files or units remain"
}

"$@"
