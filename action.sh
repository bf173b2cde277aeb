#!/system/bin/sh
# What the module's button in the root manager does: starts the service when it is down, tells how things are, and opens
# the dashboard.
set -u

MODDIR=${0%/*}
BERTH=$MODDIR/bin/berth
PATIENCE_SECONDS=40

serves() {
  "$BERTH" info --json | grep -q '"service": *true'
}

if [ ! -x "$BERTH" ]; then
  echo "$BERTH is missing; install the module again"
  exit 1
fi
waited=$PATIENCE_SECONDS # only what has just been started is worth waiting for
if ! serves; then
  echo 'The service is down; starting it.'
  setsid sh "$MODDIR/service.sh" </dev/null >/dev/null 2>&1 &
  waited=0
  until serves || [ $waited -ge $PATIENCE_SECONDS ]; do
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
# The dashboard is there some seconds after the service.
until [ $waited -ge $PATIENCE_SECONDS ] || "$BERTH" dashboard 2>/dev/null; do
  sleep 1
  waited=$((waited + 1))
done
[ $waited -lt $PATIENCE_SECONDS ] || "$BERTH" dashboard
exit 0 # what the dashboard needs, and lacks, has been said
