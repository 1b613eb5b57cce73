//! The book against a list of everything that happened, which is added up anew for each question.

use proptest::prelude::*;

use super::*;
use crate::limits::LimitBook;

/// Everything that is known, in the order in which it came.
struct Naive {
    limits: Vec<Limit>,
    known: Vec<Known>,
    floor: i64,
}

#[derive(Clone)]
struct Known {
    payment: Payment,
    spend: Spend,
    dead: bool,
    confirmed: bool,
}

impl Naive {
    /// In plain arithmetic on small numbers.
    fn charge(limit: &Limit, payment: &Payment, fee: u128) -> u128 {
        let scope = &limit.scope;
        let there = |to: u8| scope.destination.is_none_or(|only| only == address(to));
        let parts: Vec<_> = payment.moves.iter().chain(&payment.approves).collect();
        let parts: Vec<_> = parts.into_iter().filter(|(_, to, _)| there(*to)).collect();
        let network = if payment.tron {
            Network::TRON
        } else {
            Network::ETHEREUM
        };
        let tier = if payment.wallet == "hot" {
            WalletTier::Hot
        } else {
            WalletTier::Warm
        };
        let listed =
            scope.wallets.is_empty() || scope.wallets.iter().any(|w| w.as_str() == payment.wallet);
        let asked = scope.initiators.is_empty()
            || scope
                .initiators
                .iter()
                .any(|i| i.as_str() == payment.initiator);
        if !listed
            || !asked
            || scope.tier.is_some_and(|t| t != tier)
            || scope.network.is_some_and(|n| n != network)
            || (scope.destination.is_some() && parts.is_empty())
        {
            return 0;
        }
        let small = |amount: &Amount| amount.to_u128().unwrap();
        match &limit.measure {
            Measure::Amount { asset: only, .. } => {
                let parts = parts.iter().filter(|(of, _, _)| asset(of) == *only);
                parts.map(|(_, _, amount)| small(amount)).sum()
            }
            Measure::Count { .. } => 1,
            Measure::Fee { network: only, .. } if *only == network => fee,
            Measure::Fee { .. } => 0,
            Measure::Value { .. } => {
                let value = |of: &str, amount: u128| match of {
                    USDT => (amount * 101).div_ceil(10_u128.pow(6)),
                    ETH => (amount * 300_000).div_ceil(10_u128.pow(18)),
                    _ => unreachable!("only priced assets move here"),
                };
                parts
                    .iter()
                    .map(|(of, _, amount)| value(of, small(amount)))
                    .sum()
            }
        }
    }

    fn counts(limit: &Limit, latest: i64, confirmed: bool, now: i64) -> bool {
        match limit.period {
            Period::Transaction => false,
            Period::Outstanding => !confirmed,
            Period::Rolling { seconds } => now <= latest + ((seconds + 2 * SKEW) * 1000) as i64,
        }
    }

    /// The versions of each payment.
    fn payments(&self) -> Vec<Vec<&Known>> {
        let mut ids: Vec<Hash> = self.known.iter().map(|k| k.spend.id()).collect();
        ids.sort_unstable();
        ids.dedup();
        let of = |id| self.known.iter().filter(|k| k.spend.id() == id).collect();
        ids.into_iter().map(of).collect()
    }

    fn used(&self, limit: &Limit, now: i64, except: Option<Hash>) -> u128 {
        let others = self.payments().into_iter();
        let others = others.filter(|p| Some(p[0].spend.id()) != except);
        others
            .map(|versions| Self::part(limit, &versions, now))
            .sum()
    }

    fn part(limit: &Limit, versions: &[&Known], now: i64) -> u128 {
        let latest = versions
            .iter()
            .map(|k| k.spend.at().as_millis())
            .max()
            .unwrap();
        let fee = versions.iter().map(|k| k.payment.fee).max().unwrap();
        let confirmed = versions.iter().any(|k| k.confirmed);
        if !Self::counts(limit, latest, confirmed, now) {
            return 0;
        }
        Self::charge(limit, &versions[0].payment, fee.to_u128().unwrap())
    }

    /// Forgets what no limit counts, as the book promises to.
    fn forget(&mut self) {
        let counted = |versions: &Vec<&Known>| {
            self.limits
                .iter()
                .any(|l| Self::part(l, versions, self.floor) > 0)
        };
        let kept: Vec<Known> = self
            .payments()
            .into_iter()
            .filter(counted)
            .flatten()
            .cloned()
            .collect();
        self.known = kept;
    }

    fn has(&self, id: Hash, digest: Hash) -> bool {
        let mut known = self.known.iter();
        known.any(|k| k.spend.id() == id && k.spend.digest() == digest)
    }

    fn record(&mut self, payment: &Payment, spend: &Spend) {
        let slot = |k: &Known| spend.slot.is_some() && k.spend.slot == spend.slot;
        let other =
            |k: &Known| k.spend.id() != spend.id() && !self.has(k.spend.id(), spend.digest());
        if self
            .known
            .iter()
            .any(|k| k.confirmed && slot(k) && other(k))
        {
            return;
        }
        for known in &mut self.known {
            if known.spend.id() == spend.id() && known.spend.digest() == spend.digest() {
                known.dead = false;
            }
        }
        let confirmed = self
            .known
            .iter()
            .any(|k| k.spend.id() == spend.id() && k.confirmed);
        self.known.push(Known {
            payment: payment.clone(),
            spend: spend.clone(),
            dead: false,
            confirmed,
        });
        self.forget();
    }

    fn settle(&mut self, digest: Hash) {
        let known = self.known.iter().filter(|k| k.spend.digest() == digest);
        let (mut ids, mut slots) = (Vec::new(), Vec::new());
        for known in known {
            ids.push(known.spend.id());
            slots.extend(known.spend.slot);
        }
        let used = |k: &Known| k.spend.slot.is_some_and(|slot| slots.contains(&slot));
        self.known
            .retain(|k| ids.contains(&k.spend.id()) || !used(k));
        for known in self.known.iter_mut() {
            known.confirmed |= ids.contains(&known.spend.id());
        }
        self.forget();
    }

    fn give_back(&mut self, digest: Hash) {
        for known in self.known.iter_mut().filter(|k| k.spend.digest() == digest) {
            known.dead = true;
        }
        let over = |p: &Vec<&Known>| p.iter().all(|k| k.dead && !k.confirmed);
        let over: Vec<Hash> = self
            .payments()
            .into_iter()
            .filter(over)
            .map(|p| p[0].spend.id())
            .collect();
        self.known.retain(|k| !over.contains(&k.spend.id()));
    }

    fn hits(&self, payment: &Payment, spend: &Spend, now: i64) -> Vec<(String, u128, u128)> {
        let mut hits = Vec::new();
        for limit in &self.limits {
            let own = self.known.iter().filter(|k| k.spend.id() == spend.id());
            let highest = own
                .map(|k| k.payment.fee)
                .chain([payment.fee])
                .max()
                .unwrap();
            let once = limit.period == Period::Transaction;
            let fee = if once { payment.fee } else { highest };
            let asked = Self::charge(limit, payment, fee.to_u128().unwrap());
            let used = self.used(limit, now, Some(spend.id()));
            if asked > 0 && used + asked > cap(limit) {
                hits.push((limit.id.to_string(), used, asked));
            }
        }
        hits
    }
}

fn cap(limit: &Limit) -> u128 {
    match &limit.measure {
        Measure::Amount { max, .. } | Measure::Fee { max, .. } | Measure::Value { max } => {
            max.to_u128().unwrap()
        }
        Measure::Count { max } => u128::from(*max),
    }
}

fn limits() -> Vec<Limit> {
    let hot = LimitScope {
        tier: Some(WalletTier::Hot),
        ..everything()
    };
    let warm = LimitScope {
        wallets: vec!["warm".parse().unwrap()],
        ..everything()
    };
    let shop = LimitScope {
        initiators: vec!["shop".parse().unwrap()],
        ..everything()
    };
    let there = LimitScope {
        destination: Some(address(1)),
        ..everything()
    };
    let fees = Measure::Fee {
        network: Network::ETHEREUM,
        max: amount(25),
    };
    let value = Measure::Value {
        max: amount(30_000),
    };
    vec![
        limit("a-hour", everything(), of(USDT, 60_000_000), rolling(60)),
        limit("b-day", warm, of(USDT, 90_000_000), rolling(400)),
        limit("c-count", shop, Measure::Count { max: 4 }, rolling(90)),
        limit("d-fees", everything(), fees, rolling(120)),
        limit("e-value", hot, value, rolling(200)),
        limit(
            "f-open",
            everything(),
            of(USDT, 120_000_000),
            Period::Outstanding,
        ),
        limit(
            "g-there",
            there,
            Measure::Count { max: 3 },
            Period::Outstanding,
        ),
        limit(
            "h-each",
            everything(),
            of(USDT, 35_000_000),
            Period::Transaction,
        ),
    ]
}

#[derive(Debug, Clone)]
enum Event {
    /// An entry arrives that was reserved this many seconds ago.
    Entry(Payment, u64),
    /// A node that obeys the limits wants to sign.
    Ask(Payment),
    Settle(Payment),
    GiveBack(Payment),
    Wait(u64),
    Prune,
}

fn payment() -> impl Strategy<Value = Payment> {
    let wallet = prop::sample::select(vec!["hot", "warm"]);
    let initiator = prop::sample::select(vec!["shop", "till"]);
    let moved = (prop::sample::select(vec![USDT, ETH]), 1_u8..3, 0_u64..4);
    let moved = moved.prop_map(|(of, to, tens)| (of, to, amount(tens * 10_000_000 + tens)));
    let moves = prop::collection::vec(moved.clone(), 0..3);
    let approves = prop::collection::vec(moved, 0..2);
    let fee = (1_u64..9).prop_map(amount);
    let few = (prop::bool::weighted(0.2), 0_u64..3);
    (wallet, initiator, few, moves, approves, fee).prop_map(
        |(wallet, initiator, (tron, nonce), moves, approves, fee)| Payment {
            wallet,
            initiator,
            tron,
            nonce,
            moves,
            approves,
            fee,
        },
    )
}

/// A few payments with a few versions each, so that retries, replacements and returns meet what is known.
fn events() -> impl Strategy<Value = Vec<Event>> {
    let versions = (payment(), 1_u64..9, 1_u64..9).prop_map(|(payment, second, third)| {
        let dearer = |fee| Payment {
            fee: amount(fee),
            ..payment.clone()
        };
        [payment.clone(), dearer(second), dearer(third)]
    });
    let all = prop::collection::vec(versions, 1..8).prop_map(|all| all.concat());
    all.prop_flat_map(|all| {
        let one = || prop::sample::select(all.clone());
        let event = prop_oneof![
            3 => (one(), 0_u64..150).prop_map(|(p, ago)| Event::Entry(p, ago)),
            4 => one().prop_map(Event::Ask),
            1 => one().prop_map(Event::Settle),
            2 => one().prop_map(Event::GiveBack),
            3 => (0_u64..80).prop_map(Event::Wait),
            1 => Just(Event::Prune),
        ];
        prop::collection::vec(event, 1..60)
    })
}

/// What happened so far, and the clock.
struct Run {
    naive: Naive,
    book: LimitBook,
    now: u64,
}

impl Run {
    fn new() -> Self {
        Self {
            naive: Naive {
                limits: limits(),
                known: Vec::new(),
                floor: i64::MIN,
            },
            book: book(&limits()),
            now: 10_000,
        }
    }

    fn millis(&self) -> i64 {
        at(self.now).as_millis()
    }

    /// What a spend would pass; both must say the same, and the reset time must be the first at which it fits.
    fn ask(&self, payment: &Payment) -> Result<bool, TestCaseError> {
        let spend = payment.at(self.now);
        let expected = self.naive.hits(payment, &spend, self.millis());
        let hits = self.book.hits(&spend, at(self.now), &as_is);
        let said: Vec<_> = hits
            .iter()
            .map(|h| {
                let small = |a: Amount| a.to_u128().unwrap();
                (h.limit.to_string(), small(h.used), small(h.requested))
            })
            .collect();
        prop_assert_eq!(said, expected);
        for hit in &hits {
            let passes = |millis: i64| {
                let hits = self.naive.hits(payment, &spend, millis);
                hits.iter().any(|(id, _, _)| *id == hit.limit.to_string())
            };
            match hit.resets_at {
                Some(resets) => {
                    prop_assert!(
                        !passes(resets.as_millis()),
                        "{} resets too early",
                        hit.limit
                    );
                    prop_assert!(
                        passes(resets.as_millis() - 1),
                        "{} resets too late",
                        hit.limit
                    );
                }
                None => prop_assert!(passes(at(u64::MAX / 2).as_millis())),
            }
        }
        Ok(hits.is_empty())
    }

    fn apply(&mut self, event: &Event) -> Result<(), TestCaseError> {
        match event {
            Event::Entry(payment, ago) => {
                let spend = payment.at(self.now - ago);
                self.naive.record(payment, &spend);
                self.book.record(&spend);
            }
            Event::Ask(payment) => {
                if self.ask(payment)? {
                    let spend = payment.at(self.now);
                    self.naive.record(payment, &spend);
                    self.book.record(&spend);
                }
            }
            Event::Settle(payment) => {
                self.naive.settle(payment.digest());
                self.book.settle(&payment.digest());
            }
            Event::GiveBack(payment) => {
                self.naive.give_back(payment.digest());
                self.book.give_back(&payment.digest());
            }
            Event::Wait(seconds) => self.now += seconds,
            Event::Prune => {
                self.naive.floor = self.millis();
                self.naive.forget();
                self.book.prune(at(self.now));
            }
        }
        prop_assert_eq!(
            self.book.len(),
            self.naive.payments().len(),
            "memory is bounded"
        );
        Ok(())
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(128))]

    #[test]
    fn the_book_says_what_a_list_of_everything_says(events in events(), probes in prop::collection::vec(payment(), 3)) {
        let mut run = Run::new();
        for event in &events {
            run.apply(event)?;
            for probe in &probes {
                run.ask(probe)?;
            }
        }
    }

    #[test]
    fn what_is_admitted_never_adds_up_to_more_than_a_cap(events in events()) {
        let mut run = Run::new();
        for event in events.iter().filter(|e| !matches!(e, Event::Entry(..))) {
            run.apply(event)?;
            for limit in &run.naive.limits {
                let used = run.naive.used(limit, run.millis(), None);
                prop_assert!(used <= cap(limit), "{} of {} in {}", used, cap(limit), limit.id);
            }
        }
    }

    #[test]
    fn the_order_in_which_entries_arrive_does_not_matter(
        entries in prop::collection::vec((payment(), 0_u64..150), 1..30),
        probe in payment(),
    ) {
        let spends: Vec<Spend> = entries.iter().map(|(p, ago)| p.at(1000 - ago)).collect();
        let forth = book(&limits()).with_spends(&spends);
        let back = book(&limits()).with_spends(spends.iter().rev());
        let zero = |_: &crate::LimitId| Some(Amount::ZERO);
        for now in [1000, 1060, 1200, 1400] {
            let asked = probe.at(now);
            prop_assert_eq!(forth.hits(&asked, at(now), &zero), back.hits(&asked, at(now), &zero));
        }
    }
}
