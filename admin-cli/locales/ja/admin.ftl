agree = 実行しますか？ [y/N]
pin-prompt = カード { $serial } の暗証番号（あと { $tries } 回）:
insert-officer = 担当者（officer）のカードを入れてください。
insert-second-officer = もう一人の署名が必要です。二人目の担当者のカードを入れてください。
insert-card = カード { $serial } を入れてください。

service-fingerprint = { $service } の指紋: { $fingerprint }
    { $service } の画面の表示と見比べてください。
founding-preview = 「{ $name }」を担当者カード { $cards } 枚で設立します。
    設立ハッシュ: { $hash }
founding-written = 担当者全員が署名しました。{ $file } に書き出しました。
    これを ca の端末、次に kms の端末へ持って行ってください。どちらにも次の設立ハッシュが表示されるはずです:
    { $hash }
profile-preview = 「{ $name }」の接続情報
    設立ハッシュ: { $hash }
    設立のときに控えたものと見比べてください。
profile-written = 接続情報を { $file } に書き出しました。

unit-preview = 「{ $name }」をファイルの宛先として作ります。
unit-created = 「{ $name }」ができました。age・rage で使う宛先:
    { $recipient }
contract-preview = 契約「{ $name }」の最終日は { $ends }（当日を含む）になります。
contract-opened = 契約「{ $name }」の最終日は { $ends }（当日を含む）です。
contract-end-preview = 「{ $name }」との契約を今すぐ終了します。元には戻せません。終わる権限: { $grants } 件。
    これまでに渡したすべてのファイルが、すべての拠点で開けなくなります。
member-preview = 「{ $name }」をカード { $serial } で登録します。宛先: { $units }
member-enrolled = 「{ $name }」を登録しました。このカードで開ける宛先: { $units }
member-revoke-preview = 「{ $name }」の登録を終了します。カードと権限はすべて今すぐ終わり、元には戻せません。終わる権限: { $grants } 件。
card-suspend-preview = 「{ $name }」のカードを一時停止します。何も消去しません。
card-resume-preview = 「{ $name }」のカードの一時停止を解きます。
site-preview = 拠点「{ $name }」（{ $address }）が加わります。
    指紋: { $fingerprint }
    拠点の画面の表示と見比べてください。
site-joined = 拠点「{ $name }」が加わりました。

register-unsound = ! kms の名簿のうち { $count } 件が、署名された名前と一致しません。その名前は表示しません。kms の管理者に連絡してください。
order-preview = 署名する指図 { $hash }:
act-site-joined = - 拠点「{ $name }」（{ $address }）が加わる
act-contract-until = - 契約「{ $name }」は { $until } の前まで
act-contract-ended = - 契約「{ $name }」を今すぐ終了する（元に戻せない）
act-unit-ordered = - 宛先「{ $name }」（{ $kind }）を作る。契約: { $contract }、拠点: { $sites }、回送先: { $routes }、権限付与に必要な人数: { $people }
act-card-enrolled = - 「{ $name }」のカードを登録する。証明されたカード番号: { $serial }、契約: { $contract }
act-grant-open = - 「{ $name }」は「{ $unit }」宛てのファイルを開ける
act-grant-route = - 「{ $name }」は「{ $unit }」宛てのファイルを回送できる（開けない）
act-card-suspended = - 「{ $name }」のカードを一時停止する
act-card-resumed = - 「{ $name }」のカードの一時停止を解く
act-card-revoked = - 「{ $name }」のカードを終了する（元に戻せない）
act-member-revoked = - 「{ $name }」の登録を終了する。カードと権限はすべて終わる（元に戻せない）
unit-kind-department = 部署
unit-kind-front-desk = 受付窓口
unit-kind-contractor = 委託先
unit-kind-person = 個人
not-attested = なし
order-appended = 指図を台帳に記録しました。
receipt = ✓ { $site } 受領 { $milliseconds } ミリ秒
receipt-bounded = … { $site } はまだ受領していません。遅くとも { $until } には自動的に止まります。
receipt-unbounded = … { $site } はまだ受領しておらず、止まる時刻もまだ保証できません。拠点の管理者に電話してください。
receipt-unsound = ! { $site } から届いた受領は本物ではありません。数えません。
waiting-for-unit = ca と kms が鍵を作っています …
waiting-for-shares = ca・kms・各拠点が割符を作り、カードに入れています。カードを抜かないでください …

column-label = 略称
column-name = 名前
column-recipient = 宛先
column-ends = 終了
column-contract = 契約
column-units = 宛先
column-state = 状態
column-reader = リーダー
column-serial = カード
column-firmware = 版
column-tries = 暗証番号 残り
column-shares = 宛先数
column-address = アドレス
column-position = 台帳
column-lease = 有効期限まで
ended = 終了
live = 有効
new-card = 新品
unreachable = つながりません
kind-unit = 宛先
kind-contract = 契約
kind-member = 担当者
kind-site = 拠点
kind-card = カードの持ち主

fault-agent-gone = この PC のエージェントが応答しません（{ $why }）。warifu-agent を起動して、もう一度実行してください。
fault-ledger = 受け取った内容を信用できません（{ $why }）。作業を止めて、kms の管理者に連絡してください。
fault-no-officer-card = 担当者または管理者のカードがリーダーにありません。カードを入れて、もう一度実行してください。
fault-second-person = この操作には二人の署名が必要です。二人目の担当者のカードを入れて、もう一度実行してください。
fault-no-new-card = 新しいカードが 1 枚だけ入っている必要があります。入れるか、--new-card で指定してください。
fault-unknown-label = { $kind }「{ $label }」はありません。list で一覧を確かめてください。
fault-ambiguous-label = 略称「{ $label }」の{ $kind }が複数あるため、何も指図していません。kms の管理者に連絡してください。
fault-label-taken = 略称「{ $label }」は使われています。別の略称にしてください。
fault-not-a-name = 略称は英小文字・数字・ハイフン、名前は 1 行です。付け直してください。
fault-not-a-day = 「{ $day }」は日付ではありません。2027-03-31 のように書いてください。
fault-not-an-officer = 「{ $text }」を読み取れません。1001:ichiro:信濃 一郎 のように、カード番号:略称:名前 と書いてください。
fault-too-few-officers = 設立には、担当者三人、または二人で 2 枚ずつのカードが必要です（1 枚なくしても締め出されないように）。指定を足してください。
fault-card-not-here = カード { $serial } がリーダーにありません。入れて、もう一度実行してください。
fault-pin-line = 標準入力の暗証番号を読み取れません。1 行に「カード番号 暗証番号」と書いてください。
fault-pin-missing = カード { $serial } の暗証番号が標準入力にありません。行を足してください。
fault-fingerprint = 指紋が一致しません。これは { $found } です。作業を止めて、ファイルの送り主に確かめてください。
fault-not-agreed = 何もしませんでした。
fault-not-ready = 「{ $what }」は指図済みですが、まだできていません。ca・kms・全拠点が動いているか確かめてください。動けば自動で完了します。
fault-not-confirmed = 受領していない拠点があります。上に名前が出た拠点に電話してください。
fault-file = { $path } を使えません（{ $why }）。別のファイルを指定してください。
fault-json = ファイルまたは応答の内容が正しくありません（{ $why }）。正しいファイルか確かめてください。
fault-terminal = 端末を使えません（{ $why }）。スクリプトでは --pins-stdin を使ってください。

rejected = 台帳がこの指図を拒みました: { $why }。指図の内容を確かめてください。
rejected-wrong-role = 署名した人にはこの操作の権限がありません。担当者または管理者のカードを使ってください。
rejected-for-oneself = 自分の利益になる指図には署名できません。別の担当者が署名してください。
rejected-over = 対象はすでに終わっており、元に戻せません（{ $why }）。新しく作ってください。
rejected-grant-exists = このカードにはその宛先がすでにあります。することはありません。
rejected-card-full = このカードにはもう宛先を入れられません。先に一つ終了してください。
rejected-lock-out = 担当者が二人未満になってしまいます。先に別の担当者を登録してください。
rejected-ends-in-past = 最終日が過ぎています。もっと後の日にしてください。
rejected-not-attested = このカードは鍵の出どころを証明できず、方針で認められていません。別のカードを使ってください。
rejected-repeated = このカードはすでに登録されています。別のカードを使ってください。
rejected-not-suspended = このカードは一時停止していません。することはありません。

help-warifu-admin = 担当者と管理者の指図を、カードの署名で行います。二人の署名が必要なときは、二人目を尋ねます。
help-warifu-admin-init = 担当者のカードで組織を設立します。
help-warifu-admin-profile = 職員の PC に置く接続情報を取り出します。
help-warifu-admin-unit = 部署・受付窓口・委託先の担当
help-warifu-admin-unit-add = 宛先を作り、鍵ができるまで待ちます。
help-warifu-admin-unit-list = 宛先の一覧
help-warifu-admin-unit-recipient = 宛先の公開鍵（送り主が age に渡すもの）を示します。
help-warifu-admin-contract = 契約: 外部の誰が、いつまで働くか
help-warifu-admin-contract-open = 契約を始めます（担当者二人）。
help-warifu-admin-contract-extend = 続いている契約の最終日を変えます（担当者二人）。
help-warifu-admin-contract-end = 契約を今すぐ終えます。渡したすべてのファイルが開けなくなります。
help-warifu-admin-contract-list = 契約の一覧
help-warifu-admin-member = 人とカード
help-warifu-admin-member-enroll = リーダーのカードで担当者を登録し、宛先を付与します。
help-warifu-admin-member-revoke = 担当者の登録を終えます。カードと権限はすべて終わります。
help-warifu-admin-member-list = 担当者の一覧
help-warifu-admin-card = カード一枚ごとの操作
help-warifu-admin-card-inspect = リーダーに入っているカードを示します。
help-warifu-admin-card-suspend = カードを一時停止します。何も消しません。
help-warifu-admin-card-resume = 一時停止したカードを再び使えるようにします。
help-warifu-admin-site = 拠点
help-warifu-admin-site-add = 拠点が加わります（担当者二人）。拠点の端末が書き出した申告書を使います。
help-warifu-admin-site-list = 拠点の一覧: 台帳をどこまで読んだか、有効期限
help-arg-agent = エージェントの接続ファイル [既定: 実行時フォルダーの中]
help-arg-pins_stdin = 暗証番号を標準入力から読みます。1 行に「カード番号 暗証番号」
help-arg-card = カードが何枚もあるとき、最初に使うカードの番号
help-arg-yes = 署名の前に確かめません
help-arg-out = 書き出し先
help-arg-organization = 設立のときに控えた設立ハッシュ
help-arg-org = 組織の名前
help-arg-zone = 時間帯
help-arg-ca = ca の端末が書き出した申告書
help-arg-kms = kms の端末が書き出した申告書
help-arg-officers = 最初の担当者。カード番号:略称:名前（例 1001:ichiro:信濃 一郎）。三人、または二人で 2 枚ずつ
help-arg-lease_seconds = kms と連絡が取れなくても拠点が応答してよい秒数
help-arg-pin_hours = 暗証番号を一度入力して使える時間数
help-arg-allow_unattested = 鍵の出どころを証明できないカードも認めます
help-arg-records = 名簿の記録の書き出し先（kms に渡します）
help-arg-label = 略称（英小文字・数字・ハイフン）
help-arg-name = 呼び名
help-arg-front_desk = 振り分けるだけで開けない窓口にします
help-arg-routes_to = 窓口が振り分けてよい宛先
help-arg-contract = 属する契約
help-arg-sites = 受け持つ拠点 [既定: すべて]
help-arg-two_people = 付与に二人の署名を必要とします
help-arg-ends = 最終日（当日を含む。例 2027-03-31）
help-arg-reason = 理由（名簿に記録します）
help-arg-watch = 各拠点の受領を待って表示します
help-arg-unit = 開ける宛先
help-arg-new_card = 新しいカードの番号 [既定: 鍵のない唯一のカード]
help-arg-member = 担当者の略称
help-arg-statement = 拠点の申告書
help-arg-fingerprint = 拠点の端末に表示された指紋
help-exit-codes = 終了コード: 0 完了 / 1 使い方の誤り / 2 断られた / 3 カードまたは暗証番号 / 4 つながらない / 5 確認できていないものがある
