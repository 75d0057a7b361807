# What `./demo w1` and so on tell. The first line of a step is its title.

separator = { ", " }
who-officer = Security officer

town = { $name } is founded, with sites: { $sites }
    Three officers' cards found the organization; ca, kms and sites are real processes, each with an HSM of its own.
town-wait = Founding the organization, starting the sites
town-seen = The organization is founded, and the sites answer.
enrolled = { $name } has a card now, and a PC to work at.
sealed = { $file } is sealed for: { $units }. Stock rage did that, with the public recipients alone.
sealed-in-browser = { $file } is sealed for: { $units }. The npm package age-encryption did that, which browsers run.
opened = { $file } opened: { $bytes } bytes, each the same as before it was sealed.
confirmed = Every site has confirmed, by name.
at-site = At { $site }, while no other site runs:
untouched = { $copies } copies of the files were compared, wherever they lie: not a byte has changed.
who = Who opened it? The file itself is the question
    Whoever audits has the files, and asks the sites' journals.
who-routed = { $routings } routings: who sent which file where, exactly those that were seen here.
who-opened = { $openings } openings, exactly those that were seen here. What was refused is not among them.

w1 = W1  Reminding scholarship debtors, contracted out
    Today the list travels on a disc, and nobody knows what becomes of its copies after the contract.
    Here it is sealed to the contractor. When the contract ends, every copy is shut, and no file is touched.
w1-contract = The department and two contractors become addresses
    One calls the debtors, the other one prints and posts letters. Two officers sign each contract with its last day.
w1-people = A clerk and the contractors' people get cards
w1-send = The list of { $debtors } debtors goes to the contractors
    It comes from an old system, in Shift_JIS with characters of the town's own, and a picture of one of these.
    It is sealed with an ordinary tool to both teams and to the department, and travels any way it likes.
w1-open = The contractors' people open it with their cards
w1-return = What came of the calls goes back to the department
    It is sealed for the department and for the contractor's own team: both can open it for now.
w1-copies = The contractor keeps copies, on a USB stick and in the mail
    For now they open there, too.
w1-ends = The administrator ends the contract
    Each site destroys its share of every key of that contract in its HSM, and then signs a receipt.
w1-over = At neither site, neither file nor copy: nothing opens for this contractor any more
    The cards are still in the readers. The results that it wrote itself are shut as well. The other contractor works on.
w1-last-day = Three days later, the last day of the other contract is over
    Nobody gave an order. The key server's clock was moved here, and no other one: sites go by its stamps.
w1-goes-on = The department works on, with the same files
w1-end = Done, in { $seconds } seconds. Nothing was collected, deleted or encrypted anew.

w2 = W2  Passport applications at a main office and two branches
    Today documents travel between offices, and a branch whose line is down stands still, or works on copies that nobody controls.
    Here one department has its key at three sites. A branch works on without its line for a limited time, and reports all of it later.
w2-department = One department, served by three sites
    At each office sits a clerk whose PC asks the site beside it.
w2-send = The day's list reaches all three offices, and { $mebibytes } MiB of scans a branch
w2-scanning = Writing the scans into an archive
w2-cut = The line to the branch is cut
    The branch works on: files open, and new ones are sealed. Its lease is { $seconds } seconds here; in earnest it is ten minutes.
w2-kept = The desk does not know of that opening yet: the branch keeps its journal.
w2-waiting = Waiting until the lease is over
w2-lease-over = The lease is over: the branch refuses
    Nobody had to tell it. The main office and the other branch work on, and what the branch sealed reaches them by car.
w2-back = The line is back
    The branch hears what happened in the ledger meanwhile, and answers again.
w2-arrived = The opening at the branch while its line was cut is among them: nothing was lost.
w2-end = Done, in { $seconds } seconds.

w3 = W3  The invitation list of the party for the aged
    Today a USB stick with the list goes from hand to hand, inside and outside the town hall.
    Here one file has many recipients: departments, single persons, a group outside. One of them is revoked, and only that one.
w3-departments = Three departments, and a member of each
w3-persons = Persons as addresses: one inside, two outside
    What is sent there reaches this person alone, not her department. Those outside have a contract that ends by itself.
w3-group = A group outside
w3-send = One list of { $guests } guests, sealed once, for six recipients
    The names have variants and characters that few fonts have.
w3-open = All of them open the same file
w3-revoke = { $name } leaves the office, and is revoked
    She has the file still, and a copy on a USB stick. Neither opens any more, at any site.
w3-others = The others open it as before
w3-end = Done, in { $seconds } seconds. One file, and nobody had to send it again.

w4 = W4  What comes from outside reaches the right department, and nobody on the way reads it
    Today it arrives at one place, and whoever distributes it reads it, copies it onto media and carries it through the house.
    Here senders know one public recipient, that of the front desk. Its dispatcher routes what he cannot read.
w4-departments = A front desk and three departments become addresses
    Officers decide where the front desk may route. No sender outside hears of the departments.
w4-people = The dispatcher and a member of each department get cards
    The welfare department sits at the branch, where another site answers.
w4-send = The prefecture sends five files to the front desk
    It has neither a card nor software of ours, and knows one public recipient. What it used to bring travels by the share of the
    town hall, where everybody may copy it: lists from old and new systems, and scans.
w4-unread = The dispatcher cannot open them, nor can the departments yet
    The card of the front desk has no right to open. A member who takes a file from the share has it too early.
w4-route = The dispatcher routes them by their names
    All files of a batch are shown; the PIN once, one signature. What is computed at card and site goes sealed to the departments.
w4-open = Each department opens what was routed to it
    The same files, as they came. What was not routed there does not open there.
w4-wrong = Scans of tax returns went to the welfare department by mistake: an officer takes that slip back
    One slip of four. The other three, from the same signature, are good as before. What was opened there until now is in the journal.
w4-end = Done, in { $seconds } seconds. Five files, as the sender sealed them; the dispatcher has read none of them.

w5 = W5  Shapes of characters: a request from one organization to another, and the answer
    Today it goes on paper: a page of glyphs, filled in by hand. Where it is a mail, somebody has to know whose key is whose.
    Here two organizations, each with an authority of its own, compare one fingerprint over the telephone. Then units are names, and
    what one sends lies in the other one's box, signed by its sender's card.
w5-at = At { $name }:
w5-apart = Of { $name }, one address answers: that of its public listener. The other { $silent } do not.
w5-people = Each has a department, and members with cards; the union has a front desk as well
    Its dispatcher may route to the department what comes, and cannot open it.
w5-networks = The two have nothing in common
    Each is in a network of its own. Neither has an account, a key or a secret of the other one, and there is no server of both.
w5-unknown = Before anything was compared, there is no such address
w5-compare = The officers call each other, and read out their fingerprints
    One digit is heard wrongly first: nothing is believed. Then each pins the other one, by two officers' order.
w5-request = The federation asks for the shapes of { $characters } characters, and whether it took them for the right ones
    A list in Shift_JIS with characters of the town's own, one in UTF-8 with variation sequences and characters that few fonts have,
    and pictures. They are sealed at the sender's PC to the union's front desk, signed by the card, and go to the union's box.
w5-front-desk = The union's dispatcher sees what came and who sent it, and routes it unread
    The sender's name and organization are proved at this PC, by the card's signature and by what the federation has published.
w5-open = The department opens it, and accepts it
    The sealed files are kept as they came, for whoever audits. The sender sees that they were accepted.
from = From { $sender }: proved here, and the card is live.
w5-answer = The union answers: pictures of the shapes, and what came of checking
    The way back is as the way there, straight to the department that asked.
w5-returned = Pictures are missing: the department gives that file back with the reason, and gets the whole
    Whoever sent it reads why, and sends what is complete.
w5-who = Who opened it? Each organization asks its own sites
w5-end = Done, in { $seconds } seconds. Two organizations, and nothing in common but a telephone call.

tour-cards = Readers and PIV cards appear
    They are virtual ones, behind the real reader service.
tour-cards-seen = Three officers' cards are in their readers.
tour-keys = The ca and the kms make their keys, each in an HSM token of its own
tour-keys-wait = Making keys
tour-founding = Three officers' cards found the organization
    ca and kms verify it, and sign as well.
tour-founding-wait = Founding
tour-founded = The founding's fingerprint is { $hash }…
tour-sites = Two sites join, by two officers' order
    Each is a process with an HSM and a database of its own.
tour-site-wait = A site joins
tour-site = { $site }
tour-units = A department and a contractor become addresses
    Their keys exist nowhere whole.
tour-unit-wait = ca and kms make a key
tour-recipient = { $unit }: { $recipient }
tour-members = Two members get cards
    The officers sign; ca, kms and sites make the shares.
tour-card-wait = A card is made
tour-member = { $name } ({ $unit })
tour-seal = A list of { $count } made-up residents is sealed by stock rage
    All that rage is given are the two recipients.
tour-sealed = residents.csv.age, { $bytes } bytes
tour-open = A member's card goes in, the PIN once, and the file opens
tour-same = The same { $count } residents, byte for byte.
tour-shown = And in a viewer: { $path }
tour-out = The card comes out: what was open is gone, and the file does not open
tour-wiped = The viewer ended and the plaintext was wiped after { $milliseconds } ms.
tour-contractor = The contractor's member opens it too
tour-ends = The administrator ends the contract, and every site confirms by name
tour-over = The contractor's card is still in the reader: it opens the file at neither site
tour-site-first = Asking { $site }:
tour-goes-on = The department's member still opens it
tour-untouched = The sealed file is the same, byte for byte.
tour-end = Done, in { $seconds } seconds.
