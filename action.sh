#!/system/bin/sh
# What the module's button in the root manager does: starts the service when it is down, tells how things are, and opens
# the dashboard.
set -u

MODDIR=${0%/*}
BERTH=$MODDIR/bin/berth
PATIENCE_SECONDS=20
DASHBOARD_SECONDS=5

serves() {
  "$BERTH" info --json | grep -q '"service": *true'
}

# The dashboard comes up a moment after the service.
opens() {
  said=$("$BERTH" dashboard 2>&1)
}

if [ ! -x "$BERTH" ]; then
  echo "$BERTH is missing; install the module again"
  exit 1
fi
if ! serves; then
  echo 'The service is down; starting it.'
  setsid sh "$MODDIR/service.sh" </dev/null >/dev/null 2>&1 &
  waited=0
  until serves || [ $waited -eq $PATIENCE_SECONDS ]; do
    sleep 1
    waited=$((waited + 1))
  done
fi
"$BERTH" info
echo
"$BERTH" list
echo
echo "In a root shell: $BERTH"
echo "A first container to try out: $BERTH demo"
echo
waited=0
until opens || [ $waited -eq $DASHBOARD_SECONDS ]; do
  sleep 1
  waited=$((waited + 1))
done
echo "$said"
