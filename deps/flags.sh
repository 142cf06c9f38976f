#!/bin/sh
# Prints make variables with the compiler and linker flags of the libraries named, from pkg-config where it knows them:
#   DEPS_CFLAGS := ...   LIBS_<package> := ...
set -eu

# The flag to try where pkg-config has no file for a package.
fallback() {
    case $1 in
        libsystemd) ;; # optional: notification of systemd falls away
        lib*) echo "-l${1#lib}" ;;
        *) echo "-l$1" ;;
    esac
}

cflags=
for pkg in "$@"; do
    if pkg-config --exists "$pkg" 2>/dev/null; then
        cflags="$cflags $(pkg-config --cflags-only-I "$pkg")"
        [ "$pkg" != libsystemd ] || cflags="$cflags -DVS_HAVE_SYSTEMD"
        case $pkg in
            # Its file names the umbrella library too, which the others make superfluous.
            libevent_*) libs="-l${pkg#lib}" ;;
            *) libs=$(pkg-config --libs "$pkg") ;;
        esac
    else
        case $pkg in libevent_*) libs="-l${pkg#lib}" ;; *) libs=$(fallback "$pkg") ;; esac
    fi
    echo "LIBS_$pkg := $libs"
done
echo "DEPS_CFLAGS := $(printf '%s\n' $cflags | grep -v '^-I/usr/include/hiredis$' | sort -u | tr '\n' ' ')"
