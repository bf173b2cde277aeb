#!/system/bin/sh
# What Magisk, KernelSU and APatch do with a zip while the phone runs: these functions, these steps, in BusyBox's ash
# with ASH_STANDALONE=1. ZIPFILE, MODPATH, ARCH, API and the manager's own variables come from the environment.

ui_print() {
  echo "$1"
}

abort() {
  ui_print "$1"
  rm -rf "$MODPATH"
  exit 1
}

set_perm() {
  chown "$2:$3" "$1" && chmod "$4" "$1"
}

set_perm_recursive() {
  find "$1" -type d | while read -r entry; do set_perm "$entry" "$2" "$3" "$4"; done
  find "$1" -type f | while read -r entry; do set_perm "$entry" "$2" "$3" "$5"; done
}

umask 022
rm -rf "$MODPATH"
mkdir -p "$MODPATH"
unzip -oq "$ZIPFILE" -x 'META-INF/*' -d "$MODPATH" || abort "! Unable to extract zip file!"
set_perm_recursive "$MODPATH" 0 0 0755 0644
# shellcheck source=/dev/null # out of the zip
. "$MODPATH/customize.sh"
rm -f "$MODPATH/customize.sh" "$MODPATH/README.md"
ui_print "- Done by the manager"
