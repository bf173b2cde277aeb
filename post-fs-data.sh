#!/system/bin/sh
# Boot waits for this, so it only looks at one label, and mends the others when that one is wrong (a restored backup, a
# moved folder).  Whatever is missing or broken ends it quietly; no Python is started.
set -u

MODDIR=${0%/*}
LOG=${BERTH_HOME:-/data/adb/berth}/service.log
TOOLS=${ANDROID_ROOT:-/system}/bin
SENTINEL=$MODDIR/runtime/bin/python3
LABEL=u:object_r:system_file:s0

say() {
  { echo "post-fs-data.sh: $*" >>"$LOG"; } 2>/dev/null
}

if [ ! -e "$SENTINEL" ]; then
  say "$SENTINEL is missing; install the module again"
  exit 0
fi
case $("$TOOLS/ls" -Zd "$SENTINEL" 2>/dev/null) in
  *"$LABEL"*) exit 0 ;;
esac
if timeout 5 "$TOOLS/chcon" -R "$LABEL" "$MODDIR" 2>/dev/null; then
  say "the SELinux labels of $MODDIR were wrong and are set again"
else
  say "the SELinux labels of $MODDIR could not be set"
fi
exit 0
