//! The memory that each model claims of what there is for all.

use anyhow::ensure;

/// Bytes that a model takes beside weights, buffers, keys and values: its vocabulary, threads,
/// tables of the scheduler.
const BASE_BYTES: u64 = 32 << 20;

/// The least for keys and values, whatever the context.
const LEAST_KV_BYTES: u64 = 1 << 20;

/// What a model takes, as far as its files say.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Measured {
    /// Weights, mapped or not, and buffers.
    pub fixed_bytes: u64,
    /// Keys and values of one full context.
    pub context_bytes: u64,
    /// Sequences at a time.
    pub sequences: u64,
}

/// The memory that a model needs, and what it can make use of. Bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Claim {
    /// All but keys and values.
    pub fixed: u64,
    /// With those of one full context, as far as that fits.
    pub least: u64,
    /// With those of all sequences.
    pub most: u64,
}

impl Claim {
    /// Of a model like this, where there is so much for all of them.
    ///
    /// # Errors
    /// It does not fit alone.
    pub fn of(measured: Measured, pool: u64) -> anyhow::Result<Claim> {
        let fixed = measured.fixed_bytes.saturating_add(BASE_BYTES);
        let smallest = fixed.saturating_add(LEAST_KV_BYTES);
        ensure!(
            smallest <= pool,
            "it needs at least {} MiB, and models may take {} MiB together: raise the memory limit (or --models-memory), or \
             serve a smaller model",
            smallest.div_ceil(1 << 20),
            pool >> 20,
        );
        let context = measured.context_bytes.max(LEAST_KV_BYTES);
        let least = fixed.saturating_add(context).min(pool);
        let most = fixed.saturating_add(context.saturating_mul(measured.sequences));
        Ok(Claim {
            fixed,
            least,
            most: most.clamp(least, pool),
        })
    }
}

/// The share of each model. Where all of them fit, what is left over goes to those that can make
/// use of it, in proportion; else each has the least, and they take turns.
pub(super) fn shares(claims: &[Claim], pool: u64) -> Vec<u64> {
    let sum =
        |of: fn(&Claim) -> u64| -> u128 { claims.iter().map(|claim| u128::from(of(claim))).sum() };
    let least = sum(|claim| claim.least);
    let use_of_more = sum(|claim| claim.most - claim.least).max(1);
    let over = u128::from(pool).saturating_sub(least).min(use_of_more);
    let share = |claim: &Claim| {
        let more = u128::from(claim.most - claim.least) * over / use_of_more;
        claim.least + u64::try_from(more).unwrap_or(u64::MAX)
    };
    claims.iter().map(share).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    const MIB: u64 = 1 << 20;

    fn measured(fixed: u64, context: u64) -> Measured {
        Measured {
            fixed_bytes: fixed * MIB,
            context_bytes: context * MIB,
            sequences: 4,
        }
    }

    #[test]
    fn a_claim_fits_alone_or_says_what_it_needs() {
        let claim = Claim::of(measured(100, 10), 1000 * MIB).unwrap();
        assert_eq!(
            (claim.fixed, claim.least, claim.most),
            (132 * MIB, 142 * MIB, 172 * MIB)
        );
        // The context is shortened before the model is refused.
        let claim = Claim::of(measured(100, 10), 135 * MIB).unwrap();
        assert_eq!((claim.least, claim.most), (135 * MIB, 135 * MIB));
        let refused = Claim::of(measured(100, 10), 132 * MIB)
            .unwrap_err()
            .to_string();
        assert!(
            refused.contains("at least 133 MiB") && refused.contains("132 MiB together"),
            "{refused}"
        );
    }

    #[test]
    fn what_is_over_goes_to_those_that_can_use_it() {
        let claims = [measured(100, 10), measured(200, 20), measured(10, 0)];
        let pool = 600 * MIB;
        let claims = claims.map(|it| Claim::of(it, pool).unwrap());
        let least: Vec<u64> = claims.iter().map(|it| it.least / MIB).collect();
        assert_eq!(least, [142, 252, 43]);
        let of = |pool: u64| -> Vec<u64> {
            shares(&claims, pool * MIB)
                .iter()
                .map(|it| it / MIB)
                .collect()
        };
        assert_eq!(of(437), least);
        assert_eq!(of(400), least, "they take turns");
        // 31 MiB over by 30 : 60 : 3.
        assert_eq!(of(468), [152, 272, 44]);
        assert_eq!(of(10_000), [172, 312, 46], "no more than is of use");
        assert!(shares(&claims, 468 * MIB).iter().sum::<u64>() <= 468 * MIB);
    }
}
