#!/usr/bin/env bash
# Builds an image of this project, and pushes it if asked: the router's, if no other is named.
#
#   scripts/build-image.sh [--image router|operator|session] [--push] [OPTION…]
#
#   --image NAME        router (also contains opencode-routerctl), operator, or session. Default: router
#   --registry HOST     the registry (REGISTRY). Default: ghcr.io
#   --ghcr-user OWNER   the owner in the registry (GHCR_USER). Without it the image stays on this machine
#   --tag TAG           the tag. Default: what scripts/image-tag.sh prints
#   --revision N        the tag <version>-homelab.<N>, as the TypeScript router's script made it
#   --latest            gives the image the tag `latest` as well
#   --platform LIST     linux/amd64, linux/arm64, or both with a comma (PLATFORMS). Default: this machine's
#   --push              pushes the image, and prints its name with its digest
#   --help              prints this text
#
# It works with docker, podman and buildah, whichever is there (CONTAINER_TOOL names one). BUILD_ARGS has more
# arguments for the build, separated by spaces; ASSUME_EMULATOR=1 builds for another processor although no
# emulator is known to be here. To push, log in first (docker login), or set GITHUB_PAT for
# ghcr.io, or REGISTRY_USER and REGISTRY_PASSWORD for any registry; a password is never taken from the command
# line, where every user of this machine can read it.
#
# Standard output has one line: the image's name, after a push with its digest.
set -euo pipefail
scripts=$(cd "$(dirname "${BASH_SOURCE[0]}")" && pwd)
cd "$scripts/.."

say() { printf '%s\n' "$*" >&2; }
fail() {
  say "$*"
  exit 1
}

image=router registry=${REGISTRY:-ghcr.io} owner=${GHCR_USER:-} tag='' revision='' latest='' push='' platforms=${PLATFORMS:-}
while [ $# != 0 ]; do
  case $1 in
    --image | --registry | --ghcr-user | --tag | --revision | --platform)
      [ -n "${2:-}" ] || fail "$1 needs a value. See scripts/build-image.sh --help"
      ;;&
    --image) image=$2 && shift 2 ;;
    --registry) registry=$2 && shift 2 ;;
    --ghcr-user) owner=$2 && shift 2 ;;
    --tag) tag=$2 && shift 2 ;;
    --revision) revision=$2 && shift 2 ;;
    --platform) platforms=$2 && shift 2 ;;
    --latest) latest=1 && shift ;;
    --push) push=1 && shift ;;
    --token | --token=*) fail "A token on the command line can be read by every user of this machine. Set GITHUB_PAT instead." ;;
    --help | -h)
      sed -n '2,/^set -euo/{/^set -euo/d;s/^# \{0,1\}//;p}' "${BASH_SOURCE[0]}"
      exit
      ;;
    *) fail "scripts/build-image.sh knows no option $1. See --help" ;;
  esac
done

case $image in
  router) component=opencode-router file=deploy/Dockerfile context=. target=router ;;
  operator) component=opencode-cloudflare-operator file=deploy/Dockerfile context=. target=operator ;;
  session) component=opencode-session file=deploy/session/Dockerfile context=deploy/session target='' ;;
  *) fail "There is no image named $image: choose router, operator or session." ;;
esac
own_tag=$("$scripts/image-tag.sh" "$component")
[ -z "$revision" ] || tag=${own_tag%%-*}-homelab.$revision
tag=${tag:-$own_tag}
[[ $tag =~ ^[a-zA-Z0-9_][a-zA-Z0-9_.-]{0,127}$ ]] ||
  fail "$tag is not a valid tag: up to 128 letters, digits, '_', '.' and '-', beginning with a letter, digit or '_'."
if [ -n "$owner" ]; then
  repository=${registry}/${owner,,}/$component # an owner may have capitals on GitHub, an image's name may not
elif [ -n "$push" ]; then
  fail "Where to? Name the owner in $registry: --ghcr-user OWNER (or GHCR_USER), and --registry HOST for another registry."
else
  repository=localhost/$component
fi

# The tool: docker only if its engine answers.
runs() { case $1 in docker) docker info >/dev/null 2>&1 ;; *) "$1" --version >/dev/null 2>&1 ;; esac }
tool=${CONTAINER_TOOL:-}
if [ -z "$tool" ]; then
  for candidate in docker podman buildah; do
    if runs "$candidate"; then tool=$candidate && break; fi
  done
  [ -n "$tool" ] || fail "Neither docker (with a running engine), podman nor buildah is here, which build images. Install one of them, for example: apt-get install buildah"
else
  case $tool in docker | podman | buildah) ;; *) fail "CONTAINER_TOOL=$tool is not known: docker, podman or buildah." ;; esac
  runs "$tool" || fail "CONTAINER_TOOL=$tool: it does not run here ($([ "$tool" = docker ] && echo "does its engine run? see: docker info" || echo "is it installed?"))."
fi

# Foreign platforms run in an emulator, which the kernel must know; buildx asks its builder instead.
case $(uname -m) in x86_64) own=linux/amd64 ;; aarch64 | arm64) own=linux/arm64 ;; *) own=linux/$(uname -m) ;; esac
platforms=${platforms:-$own}
for platform in ${platforms//,/ }; do
  case $platform in
    linux/amd64) emulator=qemu-x86_64 ;;
    linux/arm64) emulator=qemu-aarch64 ;;
    *) fail "There is no image for $platform: choose linux/amd64, linux/arm64, or both." ;;
  esac
  [ "$platform" != "$own" ] && [ -z "${ASSUME_EMULATOR:-}" ] || continue
  if [ "$tool" = docker ]; then
    docker buildx inspect --bootstrap 2>/dev/null | grep -q "^Platforms:.*$platform" && continue
  elif [ -e "/proc/sys/fs/binfmt_misc/$emulator" ]; then
    continue
  fi
  fail "This machine ($own) cannot build for $platform: no emulator is registered. Install one (Debian, Ubuntu: apt-get install qemu-user-static), build on such a machine, or let the workflow do it."
done

tags=("$tag")
[ -z "$latest" ] || tags+=(latest)
arguments=(--file "$file" --platform "$platforms" ${target:+--target "$target"}
  --label "org.opencontainers.image.version=$tag" --label "org.opencontainers.image.revision=$(git rev-parse HEAD)")
read -ra more <<<"${BUILD_ARGS:-}"
arguments+=(${more[@]+"${more[@]}"})

# Plain HTTP on this machine's own loopback, as docker does it.
plain_http=
case ${registry%%:*} in localhost | 127.*) plain_http=--tls-verify=false ;; esac

login() {
  local user=${REGISTRY_USER:-} password=${REGISTRY_PASSWORD:-}
  if [ -z "$password" ] && [ "$registry" = ghcr.io ]; then user=${user:-$owner} password=${GITHUB_PAT:-}; fi
  [ -n "$password" ] || return 0 # an earlier login counts
  [ -n "$user" ] || fail "REGISTRY_PASSWORD is set, but REGISTRY_USER is not: name the user of $registry."
  "$tool" login ${plain_http:+$([ "$tool" = docker ] || echo "$plain_http")} --username "$user" --password-stdin "$registry" <<<"$password" >/dev/null ||
    fail "$registry refused the login as $user. Check $([ -n "${REGISTRY_PASSWORD:-}" ] && echo REGISTRY_PASSWORD || echo "GITHUB_PAT: it needs the right write:packages")."
}

cannot_push() {
  fail "$repository:$tag could not be pushed to $registry (see above). Is the registry there, and may you push to $owner? To log in, set $([ "$registry" = ghcr.io ] && echo "GITHUB_PAT (with the right write:packages)" || echo "REGISTRY_USER and REGISTRY_PASSWORD")."
}

[ -z "$push" ] || login
say "Building $repository:$tag for $platforms with $tool."
digest=
digest_file=$(mktemp)
trap 'rm -f "$digest_file"' EXIT
if [ "$tool" = docker ]; then
  for each in "${tags[@]}"; do arguments+=(--tag "$repository:$each"); done
  if [ -n "$push" ]; then
    docker buildx build "${arguments[@]}" --push --metadata-file "$digest_file" "$context" >&2 || cannot_push
    digest=$(sed -n 's/.*"containerimage.digest": *"\([^"]*\)".*/\1/p' "$digest_file")
  elif [[ $platforms = *,* ]]; then
    # docker's own store has no images of several platforms: the layers stay in the builder, for a push.
    docker buildx build "${arguments[@]}" "$context" >&2
  else
    docker buildx build "${arguments[@]}" --load "$context" >&2
  fi
else
  # A manifest list holds the images of all platforms; an old one of this name would grow.
  local_name=$repository:$tag
  if [[ $platforms = *,* ]]; then
    "$tool" manifest rm "$local_name" >/dev/null 2>&1 || true
    # Without kept layers: an image that begins FROM scratch would take over those of another processor.
    "$tool" build --layers=false --format oci "${arguments[@]}" --manifest "$local_name" "$context" >&2
  else
    "$tool" build --layers --format oci "${arguments[@]}" --tag "$local_name" "$context" >&2
    [ -z "$latest" ] || "$tool" tag "$local_name" "$repository:latest"
  fi
  if [ -n "$push" ]; then
    for each in "${tags[@]}"; do
      if [[ $platforms = *,* ]]; then
        "$tool" manifest push --all --quiet $plain_http --digestfile "$digest_file" "$local_name" "docker://$repository:$each" >&2 || cannot_push
      else
        "$tool" push --quiet $plain_http --digestfile "$digest_file" "$local_name" "docker://$repository:$each" >&2 || cannot_push
      fi
      digest=${digest:-$(cat "$digest_file")}
    done
    # buildah 1.28 cannot list its images while it keeps such a list.
    [[ $platforms != *,* ]] || "$tool" manifest rm "$local_name" >/dev/null
  fi
fi
printf '%s\n' "$repository:$tag${digest:+@$digest}"
