#!/bin/busybox sh
# The virtual machine's whole user space: mounts, modules, one command, the end.
/bin/busybox --install -s /bin
export PATH=/bin HOME=/root TMPDIR=/tmp
mount -t proc proc /proc
mount -t sysfs sysfs /sys
mount -t devtmpfs devtmpfs /dev
mkdir -p /dev/shm /dev/pts
mount -t devpts devpts /dev/pts
mount -t tmpfs tmpfs /dev/shm
mount -t tmpfs tmpfs /run
mount -t tmpfs tmpfs /tmp
mount -t tracefs tracefs /sys/kernel/tracing
mount -t debugfs debugfs /sys/kernel/debug
mount -t bpf bpf /sys/fs/bpf
mount -t cgroup2 cgroup2 /sys/fs/cgroup
mkdir -p /run/netns
mount --make-rshared /run
hostname vm
/bin/ip link set lo up
ulimit -n 65536

token=$(sed -n 's/.*tracer\.token=\([^ ]*\).*/\1/p' /proc/cmdline)
status=0
while read -r module; do
    insmod "/modules/$module.ko" || { echo "init: module $module did not load"; status=97; }
done </modules/order
if [ ! -r /sys/kernel/btf/vmlinux ]; then
    echo "init: this kernel has no BTF"
    status=98
fi
if [ "$status" = 0 ]; then
    /bin/sh /command
    status=$?
fi
echo
echo "TRACER-VM-END $token $status"
sync
poweroff -f
