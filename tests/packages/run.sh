#!/bin/sh
# The packages as they should be: run.sh DEB_DIRECTORY RPM_DIRECTORY, called by `make test-packages`.
#
# What is in them is compared with the lists beside this file. What installing and removing does is tried on an overlay
# of this machine's root, seen by nothing else: its upper layer shows every file that was made and not taken away again.
# Nothing is started there (no systemd runs in it): that is for the tests in a VM. Needs root, and dpkg or rpm for the
# half that each can check; what is left out is said, and counted. UPDATE_GOLDEN=1 writes the lists anew.
set -eu

[ "$(id -u)" = 0 ] || {
    echo 'must run as root' >&2
    exit 1
}
# In a mount namespace of its own: what is mounted here ends with it.
[ -n "${OWN_MOUNTS-}" ] || OWN_MOUNTS=1 exec unshare --mount sh "$0" "$@"

here=$(realpath "$(dirname "$0")")
debs=$(realpath "$1")
rpms=$(realpath "$2")
work=$(mktemp -d)
passed=0 failed=0 left_out=0

cleanup() {
    umount -q "$work/root/dev" "$work/root" "$work/layers" 2>/dev/null || true
    rm -rf --one-file-system "$work"
}
trap cleanup EXIT

ok() {
    passed=$((passed + 1))
    echo "ok        $1"
}
bad() {
    failed=$((failed + 1))
    echo "FAILED    $1"
}
skip() {
    left_out=$((left_out + 1))
    echo "left out  $1"
}
# check NAME COMMAND...
check() {
    name=$1
    shift
    if "$@" >"$work/out" 2>&1; then ok "$name"; else
        bad "$name"
        sed 's/^/    /' "$work/out"
    fi
}
# same NAME EXPECTED ACTUAL: two files
same() { check "$1" diff -u "$2" "$3"; }
# A list beside this file.
golden() {
    [ -z "${UPDATE_GOLDEN-}" ] || cp "$3" "$2"
    same "$@"
}
has() { command -v "$1" >/dev/null; }
one() {
    [ $# = 1 ] && [ -e "$1" ] || {
        echo "expected one package: $*" >&2
        exit 1
    }
    echo "$1"
}

# A fresh overlay at $work/root.
fresh() {
    umount -q "$work/root/dev" "$work/root" "$work/layers" 2>/dev/null || true
    mkdir -p "$work/layers" "$work/root"
    mount -t tmpfs layers "$work/layers"
    mkdir "$work/layers/upper" "$work/layers/work"
    mount -t overlay overlay -o "lowerdir=/,upperdir=$work/layers/upper,workdir=$work/layers/work" "$work/root"
    mount -t tmpfs dev "$work/root/dev"
    mknod -m 0666 "$work/root/dev/null" c 1 3
    mknod -m 0666 "$work/root/dev/urandom" c 1 9
    # A router image does not have our package yet, whatever this machine has.
    for path in /etc/kylin-vr /var/lib/kylin-vr /usr/sbin/kylin-vr; do
        [ ! -e "$work/root$path" ] || {
            echo "$path exists on this machine: remove the package here first" >&2
            exit 1
        }
    done
}
inside() { chroot "$work/root" env PATH=/usr/sbin:/usr/bin:/sbin:/bin LC_ALL=C "$@"; }
# What is in the upper layer, without the package managers' own books. Directories count only where nothing is below:
# the overlay copies those that were merely passed through.
# systemd-analyze, which is a manager of units for a moment, leaves a mark of its own (systemd 252.39).
changes() {
    (cd "$work/layers/upper" && find . ! -type d -print) | sed 's|^\.||' |
        grep -v -E '^/var/(lib/dpkg|lib/rpm|cache|log)/|^/var/lib/systemd/deb-systemd-helper-|^/tmp/|^/run/systemd/systemd-units-load$' | LC_ALL=C sort
}
ours() { find "$work/root/etc" "$work/root/usr" "$work/root/var" "$work/root/run" -name '*kylin*' ! -path '*/var/lib/dpkg/*' 2>/dev/null | sed "s|^$work/root||" | LC_ALL=C sort; }

# One for each subcommand, compared with the command's own list instead.
pages='/man8/kylin-vr-[a-z]*\.8'

# ---- the units, wherever they come from
units() {
    root=$1
    if has systemd-analyze; then
        # Only what it says about our units: this root has no others' units, and no manual pages.
        for unit in kylin-vr.service kylin-vr-monitor.service kylin-vr-reload@1.service kylin-vr-dnsmasq.service; do
            inside systemd-analyze verify --man=no "/usr/lib/systemd/system/$unit" >"$work/verify" 2>&1 || true
            grep -E 'kylin|cycle' "$work/verify" >"$work/ours" || true
            same "systemd-analyze verify has nothing to say about $unit" /dev/null "$work/ours"
        done
    else
        skip 'systemd-analyze is missing'
    fi
    if has udevadm && udevadm verify --help >/dev/null 2>&1; then
        check 'udevadm verify accepts the rule' udevadm verify "$root/usr/lib/udev/rules.d/80-kylin-vr.rules"
    else
        skip 'no udevadm verify here (systemd 254 has it)'
    fi
    check 'the command runs' inside kylin-vr --version
    check 'the manual page is one' sh -c "zcat '$root/usr/share/man/man8/kylin-vr.8.gz' | grep -q '^.TH kylin-vr 8'"
    inside kylin-vr --help | sed -n '/^Commands:/,/^$/s/^  \([a-z][a-z]*\)  .*/\1/p' | grep -v '^help$' | LC_ALL=C sort >"$work/commands"
    for page in "$root"/usr/share/man/man8/kylin-vr-*.8.gz; do basename "$page" .8.gz; done | sed 's/^kylin-vr-//' | LC_ALL=C sort >"$work/pages"
    same 'every subcommand has its page' "$work/commands" "$work/pages"
    check 'bash accepts the completions' bash -n "$root/usr/share/bash-completion/completions/kylin-vr"
}

# ---- Debian
if has dpkg-deb; then
    deb=$(one "$debs"/kylin-vr_*_"$(dpkg --print-architecture)".deb)
    echo "$deb"
    dpkg-deb --fsys-tarfile "$deb" | tar --list --verbose --numeric-owner --full-time -f - |
        awk '{ print $1, $2, $6 }' | sed -E 's|/$||; s| \./| /|' | grep -v -e ' \.$' -e "$pages" | LC_ALL=C sort -k 3 >"$work/deb.files"
    golden 'deb: files, modes, owners' "$here/deb.files" "$work/deb.files"
    dpkg-deb --info "$deb" conffiles >"$work/deb.conffiles"
    golden 'deb: conffiles' "$here/deb.conffiles" "$work/deb.conffiles"
    check 'deb: the description names the package and its architecture' \
        test "$(dpkg-deb -f "$deb" Package Architecture | tr '\n' ' ')" = "Package: kylin-vr Architecture: $(dpkg --print-architecture) "
    for wanted in libc6 libnftnl11 libudev1 systemd udev; do
        check "deb: depends on $wanted" sh -c "dpkg-deb -f '$deb' Depends | grep -q -E '(^|, )$wanted( |,|$)'"
    done
    mkdir "$work/control"
    dpkg-deb --control "$deb" "$work/control"
    for script in postinst prerm postrm; do
        check "deb: $script is a shell script" sh -n "$work/control/$script"
    done
    dpkg-deb --extract "$deb" "$work/extracted"
    check 'deb: md5sums are right' sh -c "cd '$work/extracted' && md5sum --quiet --check '$work/control/md5sums'"

    fresh
    cp "$deb" "$work/root/tmp/kylin-vr.deb"
    check 'deb: installs' inside dpkg --force-depends --install /tmp/kylin-vr.deb
    units "$work/root"
    check 'deb: both units are enabled' inside systemctl is-enabled kylin-vr.service kylin-vr-monitor.service
    check 'deb: the configuration is empty and 0600, its directory 0700' \
        test "$(inside stat -c '%a %s' /etc/kylin-vr/kylin-vr.yaml) $(inside stat -c %a /etc/kylin-vr)" = '600 0 700'
    echo 'if_list: []' >"$work/root/etc/kylin-vr/kylin-vr.yaml"
    inside systemctl --quiet disable kylin-vr-monitor.service 2>/dev/null
    check 'deb: installs over itself' inside dpkg --force-depends --install /tmp/kylin-vr.deb
    check 'deb: an upgrade keeps the configuration' grep -q 'if_list: \[\]' "$work/root/etc/kylin-vr/kylin-vr.yaml"
    check 'deb: an upgrade keeps a unit disabled that was' \
        test "$(inside systemctl is-enabled kylin-vr-monitor.service)" = disabled
    mkdir -p "$work/root/var/lib/kylin-vr" "$work/root/run/kylin-vr"
    echo state | tee "$work/root/var/lib/kylin-vr/accepted.yaml" >"$work/root/run/kylin-vr/owned.json"
    check 'deb: is removed' inside dpkg --remove kylin-vr
    check 'deb: a removal keeps the configuration' grep -q 'if_list: \[\]' "$work/root/etc/kylin-vr/kylin-vr.yaml"
    check 'deb: a removal keeps the state' test -e "$work/root/var/lib/kylin-vr/accepted.yaml"
    check 'deb: installs again' inside dpkg --force-depends --install /tmp/kylin-vr.deb
    check 'deb: the unit is enabled again' inside systemctl is-enabled kylin-vr.service
    check 'deb: is purged' inside dpkg --purge kylin-vr
    changes >"$work/left"
    same 'deb: a purge leaves no file' /dev/null "$work/left"
    ours | grep -v -x /tmp/kylin-vr.deb >"$work/left" || true
    same 'deb: a purge leaves nothing of this name' /dev/null "$work/left"
else
    skip 'no dpkg here: the Debian package'
fi

# ---- rpm
if has rpm; then
    rpm=$(one "$rpms"/RPMS/"$(uname -m)"/kylin-vr-*."$(uname -m)".rpm)
    echo "$rpm"
    version=$(rpm -qp --qf '%{VERSION}' "$rpm")
    # Where documentation goes differs: with the version in its name, or without.
    rpm -qp --qf '[%{FILEMODES:perms} %{FILEUSERNAME}/%{FILEGROUPNAME} %{FILEFLAGS:fflags} %{FILENAMES}\n]' "$rpm" |
        sed -E "s#(doc|licenses)/kylin-vr-$version#\1/kylin-vr#; s/  / - /" | grep -v "$pages" | LC_ALL=C sort -k 4 >"$work/rpm.files"
    golden 'rpm: files, modes, owners, flags' "$here/rpm.files" "$work/rpm.files"
    for wanted in /bin/sh 'libnftnl.so.11' 'libudev.so.1' systemd udev; do
        check "rpm: requires $wanted" sh -c "rpm -qpR '$rpm' | grep -q -F '$wanted'"
    done
    check 'rpm: says who it is' test "$(rpm -qp --qf '%{NAME} %{ARCH} %{LICENSE}' "$rpm")" = "kylin-vr $(uname -m) GPL-3.0-or-later"
    rpm -qp --scripts "$rpm" >"$work/scripts"
    for script in postinstall preuninstall postuninstall; do
        check "rpm: has a $script scriptlet" grep -q "^$script scriptlet" "$work/scripts"
    done
    check 'rpm: no scriptlet has a macro left in it' sh -c "! grep -n '%{\|%systemd' '$work/scripts'"
    check 'rpm: scriptlets never restart the boot unit' sh -c "! grep -n 'restart kylin-vr.service' '$work/scripts'"

    fresh
    cp "$rpm" "$work/root/tmp/kylin-vr.rpm"
    # A database of its own; nothing of this machine's is in it, so nothing that is required is either.
    rpm_() { inside rpm --dbpath /tmp/rpmdb "$@"; }
    rpm_ --initdb
    check 'rpm: installs' rpm_ -i --nodeps /tmp/kylin-vr.rpm
    units "$work/root"
    check 'rpm: the units call the program, not the wrapper' \
        sh -c "grep -h ^Exec '$work/root'/usr/lib/systemd/system/kylin-vr*.service | grep -c =/usr/libexec/kylin-vr/kylin-vr | grep -qx 4"
    check 'rpm: both units are enabled' inside systemctl is-enabled kylin-vr.service kylin-vr-monitor.service
    check 'rpm: all files are as packed' rpm_ -V --nodeps kylin-vr
    echo 'if_list: []' >"$work/root/etc/kylin-vr/kylin-vr.yaml"
    check 'rpm: installs over itself' rpm_ -U --force --nodeps /tmp/kylin-vr.rpm
    check 'rpm: an upgrade keeps the configuration' grep -q 'if_list: \[\]' "$work/root/etc/kylin-vr/kylin-vr.yaml"
    check 'rpm: an upgrade leaves the units enabled' inside systemctl is-enabled kylin-vr.service kylin-vr-monitor.service
    : >"$work/root/etc/kylin-vr/kylin-vr.yaml"
    chmod 0600 "$work/root/etc/kylin-vr/kylin-vr.yaml"
    mkdir -p "$work/root/var/lib/kylin-vr" "$work/root/run/kylin-vr"
    echo state | tee "$work/root/var/lib/kylin-vr/accepted.yaml" >"$work/root/run/kylin-vr/owned.json"
    check 'rpm: is removed' rpm_ -e kylin-vr
    changes >"$work/left"
    same 'rpm: a removal leaves no file' /dev/null "$work/left"
    ours >"$work/left"
    same 'rpm: a removal leaves nothing of this name' /dev/null "$work/left"

    # SELinux's tools, played by scripts that write down how they are called: one boolean is on already.
    fresh
    cp "$rpm" "$work/root/tmp/kylin-vr.rpm"
    for tool in selinuxenabled semanage setsebool restorecon getsebool; do
        {
            echo '#!/bin/sh'
            case $tool in
            selinuxenabled) ;;
            getsebool) echo 'case $1 in virt_rw_qemu_ga_data) echo "$1 --> on" ;; *) echo "$1 --> off" ;; esac' ;;
            *) echo 'echo "${0##*/} $*" >>/tmp/selinux' ;;
            esac
        } >"$work/root/usr/sbin/$tool"
        chmod 0755 "$work/root/usr/sbin/$tool"
    done
    rpm_ --initdb
    check 'rpm: installs where SELinux is on' rpm_ -i --nodeps /tmp/kylin-vr.rpm
    check 'rpm: installs over itself where SELinux is on' rpm_ -U --force --nodeps /tmp/kylin-vr.rpm
    check 'rpm: is removed where SELinux is on' rpm_ -e kylin-vr
    golden 'rpm: SELinux is told, and everything is taken back' "$here/selinux.calls" "$work/root/tmp/selinux"

    check 'rpm: the source package has the sources, the crates and the spec' \
        test "$(rpm -qpl "$(one "$rpms"/SRPMS/kylin-vr-*.src.rpm)" | wc -l)" = 3
else
    skip 'no rpm here: the rpm package'
fi

echo "$passed checks passed, $failed failed, $left_out left out"
[ "$failed" = 0 ]
