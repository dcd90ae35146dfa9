# Shared by the scripts in this folder, which source it. Downloads go to one cache directory and happen once.
set -euo pipefail
cache=${FIREBOX_CACHE:-${XDG_CACHE_HOME:-${HOME:?is not set}/.cache}/firebox}
mkdir -p "$cache"
cache=$(realpath "$cache")

die() {
  echo "$(basename "$0"): $*" >&2
  exit 1
}

# Only one script runs at a time, although tests start them in parallel.
lock() {
  exec 9>"$cache/.lock"
  flock 9
}

# deb PACKAGE PREFIX: unpacks a Debian package under PREFIX, without root and without installing it.
deb() {
  command -v apt-get >/dev/null || die "needs the package $1 and can fetch it only with apt-get, on Debian"
  local work
  work=$(mktemp -d "$cache/deb.XXXXXX")
  chmod 755 "$work"
  (
    cd "$work"
    apt-get download -q "$1" >&2 || { apt_update && apt-get download -q "$1" >&2; }
  ) || { rm -rf "$work"; die "could not download the package $1"; }
  mkdir -p "$2"
  dpkg -x "$work"/*.deb "$2"
  rm -rf "$work"
}

# The package lists of a new container are empty, and only root can download them.
apt_update() {
  if [ "$(id -u)" = 0 ]; then apt-get update -q >&2; else sudo -n apt-get update -q >&2; fi
}

libraries() { echo "$1/usr/lib/$(gcc -print-multiarch 2>/dev/null || echo "$(uname -m)-linux-gnu")"; }

# Prints the directory of the Vulkan loader: empty when the system has one.
loader() {
  ldconfig -p 2>/dev/null | grep -q 'libvulkan\.so\.1' && return
  local prefix=$cache/vulkan-loader
  [ -e "$(libraries "$prefix")/libvulkan.so.1" ] || deb libvulkan1 "$prefix"
  libraries "$prefix"
}

# driver_environment ICD [LIBRARIES]: prints the environment in which ICD is the only Vulkan driver.
driver_environment() {
  local path
  path=$(loader)${2:+:$2}${LD_LIBRARY_PATH:+:$LD_LIBRARY_PATH}
  echo "export VK_DRIVER_FILES='$1'"
  echo "export VK_ICD_FILENAMES='$1'"
  [ -z "${path#:}" ] || echo "export LD_LIBRARY_PATH='${path#:}'"
}

# manifest ICD LIBRARY: the driver manifest ICD with the path of its library made absolute, on standard output.
manifest() { sed "s#\"library_path\": *\"[^\"]*\"#\"library_path\": \"$2\"#" "$1"; }
