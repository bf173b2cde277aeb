# shellcheck shell=sh
# shellcheck disable=SC2154 # MODPATH, ARCH, API and others are given by who sources this
# Installs the module: checks the phone, unpacks the runtime. Sourced by Magisk, KernelSU or APatch in BusyBox's ash,
# so nothing here may exit or change the shell's options; abort is theirs.

berth_data=/data/adb/berth
berth_space=120 # MB: what is unpacked takes 45, and the last version stays until the reboot

# From these on the managers show a module's own page (webroot), which Berth's is.
berth_kernelsu=11551 # 0.8.0
berth_apatch=10568

# And from these on a button for it (action.sh).
berth_magisk_button=28000 # 28.0
berth_kernelsu_button=11986 # 1.0.2
berth_apatch_button=10927

berth_check_manager() {
  # KernelSU and APatch first: both also say that they are an old Magisk.
  if [ "${KSU:-}" = true ]; then
    berth_manager=KernelSU
    if [ "${KSU_VER_CODE:-0}" -lt $berth_kernelsu ]; then
      abort "! Berth needs KernelSU 0.8.0 ($berth_kernelsu) or newer; this is ${KSU_VER:-KernelSU} (${KSU_VER_CODE:-?})."
    fi
    ui_print "- KernelSU ${KSU_VER:-} ($KSU_VER_CODE)"
    berth_check_button "$KSU_VER_CODE" $berth_kernelsu_button "KernelSU 1.0.2"
  elif [ "${APATCH:-}" = true ]; then
    berth_manager=APatch
    if [ "${APATCH_VER_CODE:-0}" -lt $berth_apatch ]; then
      abort "! Berth needs APatch $berth_apatch or newer; this is ${APATCH_VER:-APatch} (${APATCH_VER_CODE:-?})."
    fi
    ui_print "- APatch ${APATCH_VER:-} ($APATCH_VER_CODE)"
    berth_check_button "$APATCH_VER_CODE" $berth_apatch_button "APatch $berth_apatch_button"
  elif [ "${MAGISK_VER_CODE:-0}" -ge 27000 ]; then
    berth_manager=Magisk
    ui_print "- Magisk ${MAGISK_VER:-} ($MAGISK_VER_CODE)"
    berth_check_button "$MAGISK_VER_CODE" $berth_magisk_button "Magisk 28.0"
  else
    abort "! Berth needs Magisk 27.0, KernelSU 0.8.0 or APatch $berth_apatch, or newer; this is Magisk ${MAGISK_VER:-of unknown version}."
  fi
}

berth_check_button() { # THIS FIRST NAME-OF-FIRST
  if [ "$1" -lt "$2" ]; then
    ui_print "  Before $3 there is no button for modules: 'su -c berth dashboard' opens the dashboard."
  fi
}

berth_check_android() {
  if [ "${API:-0}" -lt 26 ]; then
    abort "! Berth needs Android 8 or newer (API 26); this is API ${API:-unknown}."
  fi
  ui_print "- Android API $API"
}

berth_check_kernel() {
  berth_release=$(uname -r)
  berth_major=${berth_release%%.*}
  berth_minor=${berth_release#*.}
  berth_minor=${berth_minor%%[!0-9]*}
  berth_kernel=$((berth_major * 1000 + berth_minor))
  ui_print "- Kernel $berth_release"
  if [ "$berth_kernel" -lt 3018 ]; then
    abort "! Berth needs Linux 3.18 or newer: older kernels lack overlayfs and the filters that keep a container in."
  fi
  if [ "$berth_kernel" -lt 4005 ]; then
    ui_print "  Before 4.5 there is no cgroup2: distributions with systemd 258 or newer will not start."
  fi
  if [ "$berth_kernel" -lt 4006 ]; then
    ui_print "  Before 4.6 there are no cgroup namespaces: containers see the phone's cgroups."
  fi
  if [ "$berth_kernel" -lt 5000 ]; then
    ui_print "  Before 5.0 containers get no kernel keyrings, because theirs and those of the phone's encryption clash."
  fi
}

berth_check_abi() {
  case $ARCH in
  arm64) berth_abi=arm64-v8a berth_loader=ld-linux-aarch64.so.1 ;;
  x64) berth_abi=x86_64 berth_loader=ld-linux-x86-64.so.2 ;;
  arm) berth_abi=armeabi-v7a berth_loader=ld-linux-armhf.so.3 ;;
  *) abort "! Berth runs on phones with arm64, arm or x64; this one is $ARCH." ;;
  esac
  if [ ! -f "$MODPATH/$berth_abi.tar.xz" ]; then
    abort "! This zip holds nothing for $berth_abi; take the one that is made for it."
  fi
  ui_print "- Processor $berth_abi"
}

berth_check_space() {
  berth_free=$(($(df -Pk "$MODPATH" | awk 'END { print $4 }') / 1024))
  if [ "$berth_free" -lt "$berth_space" ]; then
    abort "! Berth needs $berth_space MB free on /data, and there are $berth_free; make room and install again."
  fi
  ui_print "- $berth_free MB free on /data"
}

berth_unpack() {
  ui_print "- Unpacking"
  for berth_part in common "$berth_abi"; do
    if ! tar -xpJf "$MODPATH/$berth_part.tar.xz" -C "$MODPATH"; then
      abort "! $berth_part.tar.xz can't be unpacked; download the zip again, its SHA-256 is published beside it."
    fi
  done
  rm -rf "$MODPATH"/*.tar.xz "$MODPATH/META-INF"
}

berth_place_command() {
  case $berth_manager in
  Magisk)
    mkdir -p "$MODPATH/system/bin"
    cp -p "$MODPATH/bin/berth" "$MODPATH/system/bin/berth"
    ;;
  KernelSU) berth_link /data/adb/ksu/bin ;;
  APatch) berth_link /data/adb/ap/bin ;;
  esac
}

berth_link() {
  if [ -d "$1" ]; then
    ln -sf /data/adb/modules/berth/bin/berth "$1/berth"
  fi
}

berth_set_modes() {
  # Programs have their mode from the archive; a call of set_perm for each of a thousand files would take minutes.
  chown -R 0:0 "$MODPATH"
  chmod 755 "$MODPATH"/*.sh
  if [ -e /sys/fs/selinux/enforce ] && ! chcon -R u:object_r:system_file:s0 "$MODPATH"; then
    abort "! The SELinux labels of $MODPATH can't be set; Berth would not start."
  fi
}

berth_try() {
  # By its loader: the kernel will find that by itself only where the module lies after the reboot.
  if ! berth_version=$(unset LD_PRELOAD LD_LIBRARY_PATH && "$MODPATH/runtime/lib/$berth_loader" \
    "$MODPATH/runtime/bin/python3" -IS "$MODPATH/pyapp/start.pyc" version 2>&1); then
    abort "! The bundled Python does not run on this phone: $berth_version"
  fi
  ui_print "- $berth_version runs here"
}

berth_keep_data() {
  if [ -d "$berth_data" ]; then
    ui_print "- Settings and containers in $berth_data are kept; what runs goes on until the reboot"
  elif ! mkdir -m 700 "$berth_data"; then
    abort "! $berth_data can't be made; is /data full?"
  fi
}

berth_check_manager
berth_check_android
berth_check_kernel
berth_check_abi
berth_check_space
berth_unpack
berth_place_command
berth_set_modes
berth_try
berth_keep_data
ui_print "- Done. After the reboot, 'su -c berth demo' starts a first container, and"
ui_print "  'su -c berth check' says what containers can do on this phone."
