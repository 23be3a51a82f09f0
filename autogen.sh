#!/bin/sh
# Makes configure and what it needs, in the source directory. Needs autoconf, automake and pkg-config.
set -e
cd "$(dirname "$0")"
exec autoreconf --force --install --warnings=all,no-obsolete,no-portability "$@"
