#!/bin/sh
# A machine in namespaces: makes the folder ROOT the root of its own mounts, gives it /proc, /sys, /dev and a loopback device, and
# runs its systemd as process 1, in the control groups GROUP. ci/systemd.sh starts it:
#   unshare --mount --uts --ipc --net --pid --fork --kill-child ci/systemd/machine.sh ROOT GROUP
set -eu
root=$1 group=$2

# Enter the control groups first: they become the root of the new namespace.
if [ -z "${IN_GROUP:-}" ]; then
  for procs in /sys/fs/cgroup/"$group"/cgroup.procs /sys/fs/cgroup/*/"$group"/cgroup.procs; do
    if [ -e "$procs" ]; then echo 0 >"$procs"; fi
  done
  IN_GROUP=yes exec unshare --cgroup "$0" "$root" "$group"
fi

# The mounts are not visible outside.
mount --make-rprivate /
mount --bind "$root" "$root"
mount -t proc proc "$root/proc"
mount -t sysfs -o ro sysfs "$root/sys"
# One hierarchy, or one per controller: mount only our part of each.
if [ -d "/sys/fs/cgroup/$group" ]; then
  mount --bind "/sys/fs/cgroup/$group" "$root/sys/fs/cgroup"
else
  mount -t tmpfs -o mode=755 tmpfs "$root/sys/fs/cgroup"
  for part in /sys/fs/cgroup/*/"$group"; do
    controller=$(basename "$(dirname "$part")")
    mkdir "$root/sys/fs/cgroup/$controller"
    mount --bind "$part" "$root/sys/fs/cgroup/$controller"
  done
fi
mount -t tmpfs -o mode=755 tmpfs "$root/dev"
for device in null zero full random urandom tty; do
  : >"$root/dev/$device"
  mount --bind "/dev/$device" "$root/dev/$device"
done
mkdir "$root/dev/pts" "$root/dev/shm" "$root/dev/mqueue"
mount -t devpts -o newinstance,ptmxmode=0666 devpts "$root/dev/pts"
ln -s pts/ptmx "$root/dev/ptmx"
ln -s /proc/self/fd "$root/dev/fd"
mount -t tmpfs tmpfs "$root/dev/shm"
mount -t tmpfs -o mode=755 tmpfs "$root/run"
hostname check
ip link set lo up
cd "$root"
pivot_root . mnt
umount -l /mnt
# In a container systemd does not mount this itself. Without it no service can read its credentials.
mount --make-rshared /
exec env -i container=check PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd
