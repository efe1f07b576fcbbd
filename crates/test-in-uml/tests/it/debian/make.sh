#!/bin/sh
# Makes the Debian repository of the tests beside this script, with one package of a kernel's source, signed by a key that is then
# thrown away; and, in tls/, a certificate for 127.0.0.1 with its authority. Wants dpkg-dev, gnupg, openssl and xz-utils.
set -eu
cd "$(dirname "$0")"
work=$(mktemp -d)
trap 'rm -rf "$work"' EXIT
rm -rf repository keyring.gpg tls
mkdir -p repository/dists/sid/main/binary-amd64 "$work/package/DEBIAN" "$work/package/usr/src" "$work/linux-9.9" tls

printf 'VERSION = 9\nPATCHLEVEL = 9\n' > "$work/linux-9.9/Makefile"
tar -C "$work" --sort=name --owner=0 --group=0 --mtime=@1700000000 -cJf "$work/package/usr/src/linux-source-9.9.tar.xz" linux-9.9
cat > "$work/package/DEBIAN/control" <<END
Package: linux-source-9.9
Version: 9.9.1-1
Architecture: all
Maintainer: Nobody <nobody@example.org>
Description: a source for tests
END
dpkg-deb --root-owner-group --build "$work/package" repository/linux-source-9.9_9.9.1-1_all.deb
(cd repository && dpkg-scanpackages --multiversion . /dev/null > dists/sid/main/binary-amd64/Packages)

export GNUPGHOME="$work/gnupg"
mkdir -m 700 "$GNUPGHOME"
gpg --faked-system-time 20231114T221320 --batch --quiet --passphrase '' --quick-gen-key 'Tests <tests@example.org>' rsa2048 sign never
gpg --batch --export > keyring.gpg
# release NAME DATE [VALID-UNTIL]
release() {
    file=dists/sid/main/binary-amd64/Packages
    {
        printf 'Origin: Tests\nSuite: sid\nCodename: sid\nArchitectures: amd64\nComponents: main\nDate: %s\n' "$2"
        [ -z "${3-}" ] || printf 'Valid-Until: %s\n' "$3"
        printf 'SHA256:\n %s %s main/binary-amd64/Packages\n' \
            "$(sha256sum < "repository/$file" | cut -d' ' -f1)" "$(stat -c %s "repository/$file")"
    } | gpg --faked-system-time 20231114T221320 --batch --quiet --digest-algo SHA512 --clearsign > "repository/dists/sid/$1"
}
release InRelease 'Tue, 14 Nov 2023 22:13:20 UTC'
release InRelease.expired 'Tue, 14 Nov 2023 22:13:20 UTC' 'Tue, 21 Nov 2023 22:13:20 UTC'
release InRelease.early 'Thu, 01 Jan 2095 00:00:00 UTC'

# certificate SUBJECT KEY CERTIFICATE EXTENSIONS [more options of openssl-ca(1)]
certificate() {
    subject=$1 key=$2 certificate=$3 extensions=$4
    shift 4
    openssl req -newkey ec -pkeyopt ec_paramgen_curve:prime256v1 -nodes -subj "/CN=$subject" -keyout "$key" -out "$work/request"
    printf '%s\n' "$extensions" > "$work/extensions"
    printf '[ca]\ndefault_ca=own\n[own]\ndatabase=%s/index\nrand_serial=yes\npolicy=any\n[any]\ncommonName=supplied\n' \
        "$work" > "$work/ca.conf"
    : > "$work/index"
    openssl ca -batch -notext -config "$work/ca.conf" -outdir "$work" -md sha256 -in "$work/request" -out "$certificate" \
        -extfile "$work/extensions" -startdate 20231114221320Z -enddate 21231114221320Z "$@"
}
certificate 'Authority of tests' "$work/authority.key" tls/authority.pem 'basicConstraints=critical,CA:TRUE' \
    -selfsign -keyfile "$work/authority.key"
certificate 127.0.0.1 tls/server.key tls/server.pem 'subjectAltName=IP:127.0.0.1' \
    -cert tls/authority.pem -keyfile "$work/authority.key"
chmod 644 tls/server.key
