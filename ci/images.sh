#!/usr/bin/env bash
# Would the images build, and would their programs run? Checked without a container engine: it parses the Dockerfile, copies its
# context as .dockerignore says, and makes a folder with one program and the C libraries for each final image.
set -euo pipefail
cd "$(dirname "$0")/.."
. ci/lib/checks.sh

python_for_checks
context="$CHECKS/context"
rm -rf "$context"

# Copies the context to the given folder, and prints every fault.
faults=$("$PYTHON" - "$context" <<'PYTHON'
import json, re, shutil, sys, tomllib
from io import BytesIO
from pathlib import Path, PurePosixPath

import yaml
from dockerfile_parse import DockerfileParser

context = Path(sys.argv[1])
faults = []


def expect(condition, words):
    if not condition:
        faults.append(words)


# --- the context, as .dockerignore says: the last pattern that matches a path or a folder above it decides
patterns = [line.strip() for line in Path(".dockerignore").read_text().splitlines()]
patterns = [line for line in patterns if line and not line.startswith("#")]


def is_kept(path):
    kept = True
    parents = [path, *list(path.parents)[:-1]]
    for pattern in patterns:
        wanted = pattern.lstrip("!")
        regex = re.escape(wanted).replace(r"\*\*", ".*").replace(r"\*", "[^/]*")
        if any(re.fullmatch(regex, str(parent)) for parent in parents):
            kept = pattern.startswith("!")
    return kept


tops = {PurePosixPath(pattern.lstrip("!")).parts[0] for pattern in patterns if pattern.startswith("!")}
for top in sorted(tops):
    found = [Path(top)] if Path(top).is_file() else [path for path in Path(top).rglob("*") if path.is_file()]
    expect(found, f".dockerignore: nothing is named {top}")
    for path in found:
        if is_kept(PurePosixPath(path)) and "__pycache__" not in path.parts:
            (context / path).parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(path, context / path)
secrets = [path for path in context.rglob("*") if path.suffix in {".nk", ".key", ".password", ".token", ".env"}]
expect({path.name for path in secrets} <= {"users.env"}, f"a secret is in the context: {secrets}")

# --- stages
parser = DockerfileParser(fileobj=BytesIO(), parent_env={})
parser.content = Path("deploy/images/Dockerfile").read_text()
stages, arguments = {}, {}
for step in parser.structure:
    kind, value = step["instruction"], step["value"]
    if kind == "FROM":
        base, _, name = value.split()
        stages[name] = {"base": base, "steps": []}
    elif kind == "ARG" and not stages:
        arguments.update([value.split("=", 1)])
    elif kind != "COMMENT" and stages:
        stages[name]["steps"].append((kind, value))
final = ["ingress", "normalizer", "sender", "media", "timeline", "cli"]
expect(list(stages) == ["tools", "plan", "build", "runtime", *final], f"stages: {list(stages)}")


def steps(stage, kind):
    return [value for this, value in stages[stage]["steps"] if this == kind]


expect(stages["tools"]["base"] == "${RUST_IMAGE}", "tools is not made from RUST_IMAGE")
expect(stages["runtime"]["base"] == "${RUNTIME_IMAGE}", "runtime is not made from RUNTIME_IMAGE")
toolchain = tomllib.loads(Path("rust-toolchain.toml").read_text())["toolchain"]["channel"]
expect(arguments["RUST_IMAGE"].startswith(f"rust:{toolchain}-"), f"RUST_IMAGE is not Rust {toolchain}")
debian = {"bookworm": "debian12", "trixie": "debian13"}[arguments["RUST_IMAGE"].rsplit("-", 1)[1]]
expect(debian in arguments["RUNTIME_IMAGE"], "the base images are of different versions of Debian")
compose = yaml.safe_load(Path("docker-compose.yml").read_text())["x-build"]["args"]
for argument, default in arguments.items():
    expect(compose[argument] == f"${{{argument}:-{default}}}", f"docker-compose.yml has another default of {argument}")

# --- files that are copied into the build, or compiled in, exist
copied = []
for stage in ["plan", "build"]:
    for value in steps(stage, "COPY"):
        if value.startswith("--from="):
            expect(value.split()[0] == "--from=plan", f"{stage}: COPY {value}")
            continue
        *sources, target = value.split()
        for source in sources:
            expect((context / source).exists(), f"{stage}: COPY {source}: not in the context")
            expect(target in ("./", source), f"{stage}: COPY {source} goes to {target}")
            if stage == "build":
                copied.append(Path(source))
for path in context.glob("crates/*/src/**/*.rs"):
    text = path.read_text().split("#[cfg(test)]")[0]
    for included in re.findall(r'include_(?:str|bytes)!\(\s*"([^"]+)"', text):
        wanted = (path.parent / included).resolve()
        inside = wanted.is_file() and wanted.is_relative_to(context.resolve())
        name = wanted.relative_to(context.resolve()) if inside else included
        is_copied = inside and any(name.is_relative_to(source) for source in copied)
        expect(is_copied, f"{path.relative_to(context)} needs {included}, which the build has not")

# --- the build is the same as in continuous integration, and the dependencies are compiled for it
def flags(command):
    words = [word for word in command.split() if word.startswith("--")]
    return sorted(set(words) - {"--release", "--recipe-path"})


runs = " && ".join(steps("build", "RUN"))
cook = re.search(r"cargo chef cook ([^&|]*)", runs).group(1)
build = re.search(r"cargo build ([^&|]*)", runs).group(1)
ours = re.search(r"^ *cargo build (.*--workspace.*)$", Path("dev").read_text(), re.M).group(1)
expect(flags(cook) == flags(build) == flags(ours), f"cook {cook} / build {build} / ./dev test {ours}")
expect("--release" in cook and "--release" in build, "cook or build is not --release")

# --- final images
made = dict.fromkeys(re.findall(r"target/release/([\w-]+)", runs))
expect(re.search(r"/out/\s*$", runs), "the build does not leave its programs in /out")
for stage in final:
    binary = "imchannel" if stage == "cli" else f"imchannel-{stage}"
    path = f"/usr/bin/{binary}"
    expect(stages[stage]["base"] == "runtime", f"{stage} is not made from runtime")
    expect(steps(stage, "COPY") == [f"--from=build /out/{binary} {path}"], f"{stage}: COPY {steps(stage, 'COPY')}")
    expect(binary in made, f"{stage}: {binary} is not built")
    expect(json.loads(steps(stage, "ENTRYPOINT")[0]) == [path], f"{stage}: ENTRYPOINT {steps(stage, 'ENTRYPOINT')}")
    expect(not steps(stage, "RUN"), f"{stage}: RUN needs a shell, and there is none")
    for check in steps(stage, "HEALTHCHECK"):
        expect(json.loads(check[check.index("["):]) == [path, "health"], f"{stage}: HEALTHCHECK {check}")
    expect(bool(steps(stage, "HEALTHCHECK")) == (stage != "cli"), f"{stage}: HEALTHCHECK")
expect(steps("runtime", "USER") == ["65532:65532"], "runtime: USER is not 65532")
expect(steps("runtime", "STOPSIGNAL") == ["SIGTERM"], "runtime: STOPSIGNAL is not SIGTERM")
expect(not steps("runtime", "RUN"), "runtime: RUN needs a shell, and there is none")

print("\n".join(faults), end="")
PYTHON
)
[ -z "$faults" ] || fail "Dockerfile:"$'\n'"$faults"
ok "Dockerfile: stages, base images, copies, entry points, health checks"
ok "context: $(find "$context" -type f | wc -l | tr -d ' ') files, $(du -sk "$context" | cut -f1) KiB, no secret, everything that is compiled in"

# The context alone is a workspace with a complete lock file and the programs as targets. It uses the toolchain of
# the parent folder, which the base image has.
if command -v cargo >/dev/null; then
  (cd "$context" && cargo metadata --locked --format-version 1 --no-deps) >"$CHECKS/metadata.json" ||
    fail "the context alone is not a workspace"
  "$PYTHON" - "$CHECKS/metadata.json" <<'PYTHON' || fail "a program of the images is not a target of the workspace"
import json, re, sys
packages = json.load(open(sys.argv[1], encoding="utf-8"))["packages"]
bins = {target["name"] for package in packages for target in package["targets"] if "bin" in target["kind"]}
wanted = set(re.findall(r"/usr/bin/(imchannel[\w-]*)", open("deploy/images/Dockerfile", encoding="utf-8").read()))
sys.exit(f"not built: {wanted - bins}" if wanted - bins else 0)
PYTHON
  ok "every program of the images is a target of the workspace in the context"
  if command -v cargo-chef >/dev/null; then
    (cd "$context" && cargo chef prepare --recipe-path recipe.json) || fail "cargo chef prepare"
    ok "cargo chef prepare, in the context ($(cargo-chef --version))"
  else
    not_checked "cargo chef: it is not installed here (cargo install cargo-chef --locked)"
  fi
else
  not_checked "the workspace in the context: there is no cargo here"
fi

# A debug build needs the same libraries and has the same commands.
built=$(newest_build)
# The libraries of distroless's cc image: the C library, libgcc and libstdc++.
allowed='^(linux-vdso|linux-gate|ld-linux[a-z0-9_-]*|libc|libm|libpthread|libdl|librt|libgcc_s|libstdc\+\+)\.so'

# final_image PROGRAM: a folder with exactly the files of its image. Sets `root`.
final_image() {
  local program=$1 library
  root="$CHECKS/image/$program"
  rm -rf "$root"
  mkdir -p "$root/usr/bin"
  cp "$built/$program" "$root/usr/bin/"
  while read -r library; do
    [[ "${library##*/}" =~ $allowed ]] || fail "$program needs ${library##*/}, which the runtime image does not have"
    if [ -e "$library" ]; then
      mkdir -p "$root$(dirname "$library")"
      cp -L "$library" "$root$library"
    fi
  done < <(ldd "$built/$program" | awk '{ for (i = 1; i <= NF; i++) if ($i ~ /^\//) { print $i; next } print $1 }')
}

# in_image COMMAND…: runs it with a read-only file system that has only the image.
in_image() { unshare --user --map-root-user chroot "$root" "$@"; }

if [ "$(uname)" != Linux ] || [ -z "$built" ]; then
  not_checked "the programs in their images: there is no build for Linux (cargo build --locked --workspace --bins)"
else
  alone=yes
  for program in imchannel-ingress imchannel-normalizer imchannel-sender imchannel-media imchannel-timeline imchannel; do
    final_image "$program"
    if ! unshare --user --map-root-user true 2>/dev/null; then
      alone=no
      in_image() { "$root$1" "${@:2}"; }
    fi
    in_image "/usr/bin/$program" --version >/dev/null || fail "$program --version"
    in_image "/usr/bin/$program" --help >/dev/null || fail "$program --help"
    if [ "$program" != imchannel ]; then
      # No service runs, so it is not healthy; exit code 2 would mean an unknown command.
      status=0
      IMCHANNEL_ADMIN_LISTEN=127.0.0.1:1 in_image "/usr/bin/$program" health >/dev/null 2>&1 || status=$?
      [ "$status" = 1 ] || fail "$program health: exit code $status without a running service (is $built built from these sources?)"
    fi
  done
  ok "five programs of $built run with only the C libraries: --version, --help, health"
  [ "$alone" = yes ] || not_checked "the same without this machine's other files: this user may not use namespaces"
fi

not_checked "docker build: deploy/compose/README.md says what was tried by hand"
