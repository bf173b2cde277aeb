#!/system/bin/sh
# Runs the service, and brings it back with growing pauses when it dies.  Root managers start this at boot (late_start)
# and don't wait for it.  `berth serve` ends with 0 when it was asked to, with 3 when another one serves already.
set -u
umask 022
unset LD_PRELOAD LD_LIBRARY_PATH

MODDIR=${0%/*}
export BERTH_MODULE="$MODDIR"
DATA=${BERTH_HOME:-/data/adb/berth}
LOG=$DATA/service.log
QUICK_SECONDS=60
MOST_QUICK_DEATHS=5
DEATH='The service died'

say() {
  echo "$(date '+%Y-%m-%d %H:%M:%S') service.sh: $*" >>"$LOG"
}

# The clock of a phone jumps when it finds the network; the time since boot does not.
uptime_seconds() {
  read -r now _ </proc/uptime
  echo "${now%%.*}"
}

# Shows "[$DEATH $1] " in front of the module's description in the root manager; nothing takes that away.  What the
# service says there stays: KernelSU may run this again within a boot.
describe() {
  [ -f "$MODDIR/module.prop" ] || return
  sed "s|^description=\(\[${DEATH}[^]]*\] \)*|description=${1:+[$DEATH $1] }|" \
    "$MODDIR/module.prop" >"$MODDIR/module.prop.new" &&
    mv -f "$MODDIR/module.prop.new" "$MODDIR/module.prop"
}

# The button in the root manager starts this too: whatever is left in that app's cgroups is frozen and killed with it.
# The service leaves those of all hierarchies by itself, these are the ones that Android does that by.
leave_app() {
  for group in /acct /dev/cg2_bpf /dev/freezer /sys/fs/cgroup /sys/fs/cgroup/freezer; do
    { echo $$ >"$group/cgroup.procs"; } 2>/dev/null
  done
}

serve() {
  (
    { echo -1000 >/proc/self/oom_score_adj; } 2>/dev/null
    exec "$MODDIR/bin/berth" serve </dev/null >>"$LOG" 2>&1
  )
}

leave_app
mkdir -p "$DATA" && chmod 0700 "$DATA"
describe ''
deaths=0
pause=1
while :; do
  began=$(uptime_seconds)
  serve
  code=$?
  case $code in
    0 | 3) exit 0 ;;
  esac
  if [ $(($(uptime_seconds) - began)) -ge $QUICK_SECONDS ]; then
    deaths=0
    pause=1
  fi
  deaths=$((deaths + 1))
  if [ $deaths -eq $MOST_QUICK_DEATHS ]; then
    say "the service died $deaths times in a row (code $code); it is not started again before the next boot"
    describe "$deaths times in a row and was stopped; see $LOG"
    exit 1
  fi
  say "the service died (code $code); it comes back in $pause s"
  sleep $pause
  pause=$((pause * 2))
done
