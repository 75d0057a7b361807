agree = Go on? [y/N]
pin-prompt = PIN of card { $serial } ({ $tries } tries left):
insert-officer = Insert an officer's card.
insert-second-officer = A second person has to sign. Insert the second officer's card.
insert-card = Insert card { $serial }.

service-fingerprint = { $service } fingerprint: { $fingerprint }
    Compare it with what the { $service } console shows.
founding-preview = { $name } will be founded with { $cards } officers' cards.
    Founding hash: { $hash }
founding-written = Signed by the officers. Written to { $file }.
    Take it to the ca console, then to the kms console. Each must show this founding hash:
    { $hash }
profile-preview = Profile of { $name }
    Founding hash: { $hash }
    Compare it with the one written down at the founding.
profile-written = Profile written to { $file }.

unit-preview = { $name } will be created as an address for files.
unit-created = { $name } is ready. Its recipient, for age and rage:
    { $recipient }
contract-preview = Contract { $name } will run until { $ends }, that day included.
contract-opened = Contract { $name } runs until { $ends }, that day included.
contract-end-preview = The contract with { $name } will end now, for ever. Grants that end: { $grants }.
    Every file its people ever received stops opening at every site.
member-preview = { $name } will be enrolled with card { $serial }, for: { $units }.
member-enrolled = { $name } is enrolled. The card opens files for: { $units }.
member-revoke-preview = { $name } leaves. All cards and grants end now, for ever. Grants that end: { $grants }.
card-suspend-preview = The card of { $name } will be suspended. Nothing is destroyed.
card-resume-preview = The card of { $name } will work again.
site-preview = Site { $name } at { $address } will join.
    Fingerprint: { $fingerprint }
    Compare it with what the site's console shows.
site-joined = Site { $name } has joined.

register-unsound = ! { $count } names in the kms's register are not those that were signed. They are not shown. Call the administrator of the kms.
order-preview = To be signed, order { $hash }:
act-site-joined = - site { $name } at { $address } joins
act-contract-until = - contract { $name } runs until { $until }, exclusive
act-contract-ended = - contract { $name } ends now, for ever
act-unit-ordered = - address { $name } ({ $kind }) is made; contract: { $contract }; sites: { $sites }; routes to: { $routes }; people for its grants: { $people }
act-card-enrolled = - a card of { $name } is enrolled; attested card: { $serial }; contract: { $contract }
act-grant-open = - { $name } may open files for { $unit }
act-grant-route = - { $name } may route files for { $unit }, and not open them
act-card-suspended = - a card of { $name } is suspended
act-card-resumed = - a card of { $name } works again
act-card-revoked = - a card of { $name } ends, for ever
act-member-revoked = - { $name } leaves: all cards and grants end, for ever
unit-kind-department = department
unit-kind-front-desk = front desk
unit-kind-contractor = contractor
unit-kind-person = person
not-attested = none
order-appended = The order is in the ledger.
receipt = ✓ { $site } confirmed after { $milliseconds } ms
receipt-bounded = … { $site } has not confirmed. It stops by itself at { $until } at the latest.
receipt-unbounded = … { $site } has not confirmed, and nothing bounds yet how long it may go on. Call its operator.
receipt-unsound = ! { $site } sent a receipt that is not its own. It does not count.
waiting-for-unit = ca and kms are making the key …
waiting-for-shares = ca, kms and sites are making the shares; then they go onto the card. Leave it in …

column-label = label
column-name = name
column-recipient = recipient
column-ends = ends
column-contract = contract
column-units = units
column-state = state
column-reader = reader
column-serial = card
column-firmware = firmware
column-tries = PIN tries
column-shares = units
column-address = address
column-position = ledger
column-lease = lease left
ended = ended
live = active
new-card = new
unreachable = unreachable
kind-unit = unit
kind-contract = contract
kind-member = member
kind-site = site
kind-card = card of

fault-agent-gone = The agent on this PC does not answer ({ $why }). Start warifu-agent, then try again.
fault-ledger = What was received cannot be relied on ({ $why }). Do not go on; call the administrator of the kms.
fault-no-officer-card = No officer's or administrator's card is in a reader. Insert one, then try again.
fault-second-person = This needs two people. Insert a second officer's card, then try again.
fault-no-new-card = There has to be exactly one new card in the readers. Insert one, or name it with --new-card.
fault-unknown-label = There is no { $kind } "{ $label }". The list commands show what there is.
fault-ambiguous-label = Several have the short name "{ $label }" ({ $kind }), so nothing was ordered. Call the administrator of the kms.
fault-label-taken = "{ $label }" is taken. Choose another short name.
fault-not-a-name = A short name has lowercase letters, digits and hyphens, a name is one line. Choose another one.
fault-not-a-day = "{ $day }" is not a day. Write it like 2027-03-31.
fault-not-an-officer = "{ $text }" is not an officer. Write SERIAL:LABEL:NAME, like 1001:ichiro:信濃 一郎.
fault-too-few-officers = Founding takes three people, or two with two cards each, so that losing a card locks nobody out. Name more officers or cards.
fault-card-not-here = Card { $serial } is not in a reader. Insert it, then try again.
fault-pin-line = The PINs on standard input cannot be read. Write one line each: card number, space, PIN.
fault-pin-missing = There is no PIN for card { $serial } on standard input. Add a line for it.
fault-fingerprint = The fingerprint does not match: this one is { $found }. Do not go on; ask who sent the file.
fault-not-agreed = Nothing was done.
fault-not-ready = "{ $what }" is ordered but not ready yet. Check that ca, kms and all sites run; they finish by themselves.
fault-not-confirmed = Not every site has confirmed. Call the sites named above.
fault-file = { $path } cannot be used ({ $why }). Choose another file.
fault-json = A file or answer is not what it should be ({ $why }). Check that it is the right file.
fault-terminal = The terminal does not work ({ $why }). Use --pins-stdin in scripts.

rejected = The ledger refuses this: { $why }. Check what you ordered.
rejected-wrong-role = Nobody who signed may do this. Use the card of an officer or administrator.
rejected-for-oneself = Nobody signs for his own advantage. Let another officer sign.
rejected-over = What this is about has ended, for ever ({ $why }). Open or enrol a new one.
rejected-grant-exists = The card has this unit already. Nothing is left to do.
rejected-card-full = The card has no room for another unit. Revoke one first.
rejected-lock-out = Fewer than two officers would be left. Enrol another officer first.
rejected-ends-in-past = The last day is over. Choose a later one.
rejected-not-attested = The card cannot prove where its keys were made, and the policy demands it. Use another card.
rejected-repeated = This card is enrolled already. Use another card.
rejected-not-suspended = The card is not suspended. Nothing is left to do.

help-warifu-admin = Orders for officers and administrators, signed by their cards. Where two people have to sign, the second one is asked for.
help-warifu-admin-init = Found the organization with its officers' cards
help-warifu-admin-profile = Fetch the organization's profile for the PCs of its members
help-warifu-admin-unit = Departments, front desks and contractors' teams
help-warifu-admin-unit-add = Order a unit and wait until it has its key
help-warifu-admin-unit-list = All units
help-warifu-admin-unit-recipient = A unit's recipient: what senders give to age
help-warifu-admin-contract = Contracts: who works for the organization from outside, and until when
help-warifu-admin-contract-open = Open a contract (two officers)
help-warifu-admin-contract-extend = Give a running contract another last day (two officers)
help-warifu-admin-contract-end = End a contract now: every file its people ever received stops opening
help-warifu-admin-contract-list = All contracts
help-warifu-admin-member = People and their cards
help-warifu-admin-member-enroll = Enrol a member with the card in the reader, and grant units
help-warifu-admin-member-revoke = A member leaves: all cards and grants end
help-warifu-admin-member-list = All members
help-warifu-admin-card = Single cards
help-warifu-admin-card-inspect = What is in the readers
help-warifu-admin-card-suspend = Stop a card for now; nothing is destroyed
help-warifu-admin-card-resume = Let a suspended card work again
help-warifu-admin-site = Sites
help-warifu-admin-site-add = A site joins (two officers), with the statement its console wrote
help-warifu-admin-site-list = All sites: how far they have read the ledger, and their lease
help-arg-agent = The agent's bootstrap file [default: in the user's runtime directory]
help-arg-pins_stdin = Read PINs from standard input, one line each: the card's number, a space, the PIN
help-arg-card = The number of the card to use first, where several are in the readers
help-arg-yes = Do not ask before signing
help-arg-out = Where to write it
help-arg-organization = The founding hash, as written down at the founding
help-arg-org = The organization's name
help-arg-zone = Its time zone
help-arg-ca = The ca's statement, as its console wrote it
help-arg-kms = The kms's statement, as its console wrote it
help-arg-officers = A first officer: card number, short name and name, such as 1001:ichiro:信濃 一郎. Three people, or two with two cards each
help-arg-lease_seconds = How long a site may answer without news from the kms, in seconds
help-arg-pin_hours = How long one PIN entry may last, in hours
help-arg-allow_unattested = Allow cards that cannot prove where their keys were made
help-arg-records = Where to write the register records, for the kms
help-arg-label = Short name: lowercase letters, digits and hyphens
help-arg-name = The name people use
help-arg-front_desk = It routes files and cannot open them
help-arg-routes_to = Units that a front desk may route to
help-arg-contract = The contract it belongs to
help-arg-sites = Sites that serve it [default: all]
help-arg-two_people = Grants to it need two people
help-arg-ends = The last day, inclusive, such as 2027-03-31
help-arg-reason = Why, for the register
help-arg-watch = Wait and show each site's receipt
help-arg-unit = Units whose files the member may open
help-arg-new_card = The new card's number [default: the one card that has no keys]
help-arg-member = The member
help-arg-statement = The site's statement
help-arg-fingerprint = The fingerprint that its console shows
help-exit-codes = Exit codes: 0 done / 1 wrong usage / 2 refused / 3 card or PIN / 4 service unreachable / 5 not everything was confirmed
