//! What a VM's guest agent may answer to `kylin-vr push`: it is the VM's owner's, not the hypervisor's. The first byte
//! chooses the way into the VM; the rest is the agent's lines.

#![no_main]

use std::time::Duration;

use kylin_vr::push::many::Outcome;
use kylin_vr::push::summary::Summary;
use kylin_vr::push::{Target, Way, fuzz};
use kylin_vr_fuzz::assert_told;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let Some((way, lines)) = data.split_first() else {
        return;
    };
    fuzz::sync(lines);
    let way = match way % 3 {
        0 => None,
        1 => Some(Way::Exec),
        _ => Some(Way::File),
    };
    let result = fuzz::push(way, lines);
    let outcome = Outcome {
        target: Target::Socket("/run/r1/qga.sock".into()),
        result,
        took: Duration::ZERO,
    };
    // All that a terminal gets of it.
    let summary = Summary::of(&outcome);
    for line in [
        Some(&summary.result),
        Some(&summary.message),
        summary.error.as_ref(),
    ]
    .into_iter()
    .flatten()
    {
        assert_told(line);
    }
    if let Some(report) = &summary.report {
        let lines = [report.text(), report.complaints("vpc.yaml")].concat();
        lines.lines().for_each(assert_told);
        report.configuration.iter().for_each(|hash| assert_told(hash));
    }
    if let Ok(answer) = &outcome.result {
        for text in [&answer.output, &answer.log] {
            text.split(['\n', '\t']).for_each(assert_told);
        }
    }
});
