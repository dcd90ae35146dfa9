//! The processor: its name, and the instruction sets that kernels use.

/// The instruction sets of this machine that change the speed of a model. Most are names of the compiler's.
#[must_use]
pub fn flags() -> Vec<&'static str> {
    let mut flags = detected();
    let listed = listed(cpu_info().as_deref().unwrap_or_default(), "flags");
    flags.extend(AMX.iter().filter(|name| listed.iter().any(|flag| flag == *name)));
    flags
}

/// Sets that the compiler does not detect yet, as Linux lists them.
const AMX: &[&str] = &["amx_tile", "amx_int8", "amx_bf16"];

macro_rules! detect {
    ($detect:ident: $($name:tt)*) => {
        [$(($name, std::arch::$detect!($name))),*].into_iter().filter(|(_, is_there)| *is_there).map(|(name, _)| name).collect()
    };
}

#[cfg(target_arch = "x86_64")]
fn detected() -> Vec<&'static str> {
    detect!(is_x86_feature_detected: "avx2" "fma" "f16c" "avxvnni" "avx512f" "avx512bw" "avx512vl" "avx512vnni"
        "avx512bf16" "avx512fp16")
}

#[cfg(target_arch = "aarch64")]
fn detected() -> Vec<&'static str> {
    detect!(is_aarch64_feature_detected: "neon" "dotprod" "i8mm" "bf16" "fp16" "sve" "sve2")
}

#[cfg(not(any(target_arch = "x86_64", target_arch = "aarch64")))]
fn detected() -> Vec<&'static str> {
    Vec::new()
}

/// The processor's name, if the system tells.
#[must_use]
pub fn name() -> Option<String> {
    let words = listed(&cpu_info()?, "model name");
    (!words.is_empty()).then(|| words.join(" "))
}

fn cpu_info() -> Option<String> {
    std::fs::read_to_string("/proc/cpuinfo").ok()
}

/// The words of the first line `key : words`.
fn listed(info: &str, key: &str) -> Vec<String> {
    let lines = info.lines().filter_map(|line| line.split_once(':'));
    let mut values = lines.filter(|(name, _)| name.trim() == key).map(|(_, words)| words);
    values.next().unwrap_or_default().split_whitespace().map(str::to_owned).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_a_line_are_found_by_its_whole_key() {
        let info = "model\t\t: 1\nmodel name\t: A  CPU\nflags\t\t: fpu amx_int8\nflags : other\n";
        assert_eq!(listed(info, "model name").join(" "), "A CPU");
        assert_eq!(listed(info, "flags"), ["fpu", "amx_int8"]);
        assert!(listed(info, "name").is_empty());
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn linux_lists_the_flags_that_were_detected() {
        let listed = listed(&cpu_info().expect("Linux tells"), "flags");
        // Linux spells some with an underscore, and leaves flags out that are not in use.
        let plain = |flag: &str| flag.replace('_', "");
        for flag in flags() {
            assert!(listed.is_empty() || listed.iter().any(|other| plain(other) == plain(flag)), "{flag}");
        }
    }
}
