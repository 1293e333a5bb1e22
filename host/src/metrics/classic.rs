//! OpenMetrics text as Prometheus's older format 0.0.4.
//!
//! Samples are written alike. What differs: a family's comments there bear the name its samples
//! have (`_total`, `_info`), infos are gauges, and neither units nor the end are marked.

/// `text` is what prometheus-client writes: of each family `# HELP`, `# TYPE`, perhaps `# UNIT`,
/// then its samples.
pub(super) fn from_open_metrics(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    let mut help = None;
    for line in text.lines() {
        if let Some(about) = line.strip_prefix("# HELP ") {
            help = about.split_once(' ');
        } else if let Some(family) = line.strip_prefix("# TYPE ") {
            let Some((name, kind)) = family.split_once(' ') else {
                continue;
            };
            let (suffix, kind) = match kind {
                "counter" => ("_total", kind),
                "info" => ("_info", "gauge"),
                "unknown" => ("", "untyped"),
                _ => ("", kind),
            };
            if let Some((_, about)) = help.take().filter(|(of, _)| *of == name) {
                out += &format!("# HELP {name}{suffix} {about}\n");
            }
            out += &format!("# TYPE {name}{suffix} {kind}\n");
        } else if !line.starts_with('#') {
            out += line;
            out.push('\n');
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_and_types_become_those_of_the_older_format() {
        let open = "# HELP a_requests Requests.\n# TYPE a_requests counter\na_requests_total{route=\"/ #\"} 3\n\
                    # HELP a_build Build.\n# TYPE a_build info\na_build_info{version=\"1\"} 1\n\
                    # HELP a_wait_seconds Wait.\n# TYPE a_wait_seconds histogram\n# UNIT a_wait_seconds seconds\n\
                    a_wait_seconds_bucket{le=\"+Inf\"} 0\n\
                    # HELP vllm:running Now.\n# TYPE vllm:running gauge\nvllm:running{model_name=\"m\"} 0\n# EOF\n";
        let classic = "# HELP a_requests_total Requests.\n# TYPE a_requests_total counter\na_requests_total{route=\"/ #\"} 3\n\
                       # HELP a_build_info Build.\n# TYPE a_build_info gauge\na_build_info{version=\"1\"} 1\n\
                       # HELP a_wait_seconds Wait.\n# TYPE a_wait_seconds histogram\n\
                       a_wait_seconds_bucket{le=\"+Inf\"} 0\n\
                       # HELP vllm:running Now.\n# TYPE vllm:running gauge\nvllm:running{model_name=\"m\"} 0\n";
        assert_eq!(from_open_metrics(open), classic);
    }
}
