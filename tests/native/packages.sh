# Debian packages, by name and only where the command is missing; and what Maven fetches. Sourced by tests/stack.

as_root() {
    if [ "$(id -u)" -eq 0 ]; then
        "$@"
    else
        command -v sudo >/dev/null && sudo -n true 2>/dev/null || return 1
        sudo -n "$@"
    fi
}

# need COMMAND PACKAGE: returns at once where the command is there.
need() {
    command -v "$1" >/dev/null || install_package "$1" "$2"
}

# install_package WHAT PACKAGE: WHAT is what is missing.
install_package() {
    command -v apt-get >/dev/null || fail "$1 is missing, and so is apt-get: install $1"
    printf '  installing %s with apt-get\n' "$2"
    as_root apt-get update -q >/dev/null || fail "$1 is missing: install the package $2 (this needs root, or sudo without a password)"
    as_root env DEBIAN_FRONTEND=noninteractive apt-get install -q -y --no-install-recommends "$2" >"$stack/apt.log" 2>&1 ||
        fail_with_log "the package $2 could not be installed" "$stack/apt.log" "install it by hand, then run this again"
}

# unpack PACKAGE DIRECTORY: the package's files without its scripts, so that no service of it is set up or started.
unpack() {
    local into=$2.new
    rm -rf "$into" && mkdir -p "$into/deb"
    if ! (cd "$into/deb" && apt-get download -q "$1" >../log 2>&1); then
        as_root apt-get update -q >/dev/null || true
        (cd "$into/deb" && apt-get download -q "$1" >../log 2>&1) ||
            fail_with_log "the package $1 could not be downloaded" "$into/log" "see that apt-get update works, then run this again"
    fi
    dpkg-deb -x "$into"/deb/*.deb "$into/files"
    rm -rf "$2" && mv "$into/files" "$2" && rm -rf "$into"
}

# collect SERVICE DIRECTORY: what the service's pom names, out of Maven's central repository.
collect() {
    rm -rf "$2"
    mvn -B -ntp -q -f "$native/$1/pom.xml" -Dmaven.repo.local="$stack/maven" dependency:copy-dependencies \
        -DincludeScope=runtime -DoutputDirectory="$2" >"$stack/$1/maven.log" 2>&1 ||
        fail_with_log "Maven could not fetch what $1 needs" "$stack/$1/maven.log" "see that Maven reaches its central repository, then run this again"
}
