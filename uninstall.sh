#!/system/bin/sh
# Root managers run this when the module is removed, mostly early in the next boot.  Containers and their data stay,
# unless /data/adb/berth/delete-data-on-uninstall asks for more; and nothing is ever deleted through a live mount.
set -u

MODDIR=${0%/*}
DATA=${BERTH_HOME:-/data/adb/berth}
BERTH=$MODDIR/bin/berth

# Prints the first place in or at $1 where something is mounted.
mounted_in() {
  while read -r _ _ _ _ place _; do
    case $place in
      "$1" | "$1"/*) echo "$place"; return ;;
    esac
  done </proc/self/mountinfo
}

delete_data() {
  case $DATA in
    /*/*) ;;
    *) echo "$DATA is no place to delete"; return ;;
  esac
  place=$(mounted_in "$(readlink -f "$DATA")")
  if [ -n "$place" ]; then
    echo "$place is still mounted, so $DATA was not deleted; unmount that and delete it by hand"
    return
  fi
  rm -rf "$DATA"
}

for link in /data/adb/ksu/bin/berth /data/adb/ap/bin/berth; do
  [ "$(readlink "$link")" = "$BERTH" ] && rm -f "$link"
done

undone=yes
if [ -x "$BERTH" ]; then
  "$BERTH" stop --all || undone=no
  "$BERTH" serve --end >/dev/null 2>&1 # early in a boot none runs
  "$BERTH" recover || undone=no
fi
if [ -e "$DATA/delete-data-on-uninstall" ]; then
  if [ $undone = yes ]; then
    delete_data
  else
    echo "a container could not be stopped, so $DATA was not deleted"
  fi
fi
