//! What is read back from the state directories: the record of what is ours, and who holds the lock. Any bytes may
//! be there (a full disk, another version, an administrator), after a configuration's text.

#![no_main]

use kylin_vr::config::Config;
use kylin_vr::features::desired;
use kylin_vr::kernel::Kernel;
use kylin_vr::lock::Holder;
use kylin_vr::owned::Owned;
use kylin_vr::plan::diff;
use kylin_vr_fuzz::{assert_told, fake_of, is_large};
use libfuzzer_sys::fuzz_target;

fuzz_target!(|data: &[u8]| {
    let mut parts = data.splitn(2, |byte| *byte == 0);
    let (record, text) = (parts.next().unwrap_or_default(), parts.next().unwrap_or_default());
    if let Ok(holder) = serde_json::from_slice::<Holder>(record) {
        assert_told(&holder.to_string());
    }
    let Ok(owned) = serde_json::from_slice::<Owned>(record) else {
        return;
    };
    let written = serde_json::to_vec(&owned).expect("what was read can be written");
    assert_eq!(
        serde_json::from_slice::<Owned>(&written).ok().as_ref(),
        Some(&owned)
    );
    let Some(config) = Config::parse(text).config else {
        return;
    };
    if is_large(&config) {
        return;
    }
    let desired = desired(&config);
    let mut kernel = fake_of(&config, text);
    let before = kernel.observe().expect("a fake looks");
    let plan = diff(&desired, &before, &owned);
    let owned = owned.with(&desired, &before);
    if let Err(incomplete) = kernel.apply(&plan.operations) {
        panic!("{:?}\n{:?}", incomplete, plan.operations);
    }
    let again = diff(&desired, &kernel.state, &owned);
    assert!(
        again.is_empty(),
        "a second run has something to do: {:?}",
        again.operations
    );
});
