### どのプログラムも同じ言葉で言うこと

problem = できませんでした: { $what }
remedy = → { $remedy }
helpdesk = 分からないときの連絡先: { $helpdesk }

level-ok = 正常
level-warning = 注意
level-fault = 異常

help-usage = 使い方:
help-commands = コマンド
help-options = オプション
help-arguments = 引数
help-arg-json = プログラム向けに JSON で出力します
help-arg-lang = 言語（ja または en） [既定: ロケールに従う]
help-arg-help = この説明を表示します
help-arg-version = 版を表示します
help-default = [既定: { $value }]

## コマンドの書き方の誤り

usage-argument-unknown = 「{ $argument }」という指定はありません。
usage-argument-missing = 必要な指定がありません: { $argument }
usage-argument-repeated = 「{ $argument }」は 1 回しか指定できません。
usage-arguments-conflict = 「{ $argument }」と「{ $other }」は同時に指定できません。
usage-command-unknown = 「{ $command }」というコマンドはありません。
usage-command-missing = コマンドが指定されていません。
usage-value-missing = 「{ $argument }」の値がありません。
usage-value-invalid = 「{ $argument }」の値として「{ $value }」は使えません。
usage-value-not-one-of = 「{ $argument }」の値として「{ $value }」は使えません。使えるのは { $values } です。
usage-value-superfluous = 「{ $argument }」に値は付けられません: { $value }
usage-equals-missing = 「{ $argument }」の値は、= に続けて書く必要があります。
usage-number-of-values = 「{ $argument }」の値の個数が違います。
usage-not-text = 文字として読めない指定があります。
usage-other = コマンドの書き方が正しくありません。
usage-suggestion = 「{ $suggestion }」の間違いではないか、確かめてください。
usage-see-help = 「{ $command }」で使い方を確かめてください。

## コンピューターが言ったこと(ほかの文の中で使う)

system-not-found = ありません
system-not-permitted = 使う権限がありません
system-exists = すでにあります
system-address-in-use = ほかのプログラムが使っています
system-address-not-here = このコンピューターのアドレスではありません
system-disk-full = ディスクに空きがありません
system-read-only = 書き込みできないディスクです
system-is-a-folder = ファイルではなくフォルダーです
system-not-a-folder = フォルダーではありません
system-nobody-answers = 応答がありません
system-broke-off = 接続が切れました
system-timed-out = 時間内に応答がありません
system-not-text = 文字として読めません
system-too-short = 途中で終わっています
system-other = { $why }

## 台帳が断る理由

kind-member = 職員
kind-card = カード
kind-contract = 契約
kind-unit = 宛先
kind-grant = 権限
kind-site = 拠点
kind-proposal = 承認待ちの指図

rejected-malformed = 指図の形式が正しくありません（{ $why }）。
    .remedy = プログラムをすべて同じ版にそろえてください。
rejected-out-of-step = この指図は、今の台帳とかみ合いません。
    .remedy = もう一度実行してください。
rejected-unsigned = 誰も署名していません。
    .remedy = セキュリティ担当または管理者のカードで署名してください。
rejected-unknown-signer = 署名したカードは、この組織に登録されていません。
    .remedy = 登録されているカードで署名してください。
rejected-bad-signature = 署名が正しくありません。
    .remedy = カードを入れ直して、もう一度署名してください。
rejected-signed-twice = 同じカードが二度署名しています。
    .remedy = 別の人のカードで署名してください。
rejected-signer-not-live = 署名したカードは、一時停止中か失効しています。
    .remedy = 有効なカードで署名してください。
rejected-wrong-role = 署名した人には、この操作の権限がありません。
    .remedy = セキュリティ担当または管理者のカードを使ってください。
rejected-two-people = この操作には、二人の署名が必要です。
    .remedy = 二人目のセキュリティ担当のカードを入れて、もう一度実行してください。
rejected-for-oneself = 自分の権限を増やす指図には、自分では署名できません。
    .remedy = 別のセキュリティ担当に署名してもらってください。
rejected-other-organization = 別の組織の指図です。
    .remedy = この組織のために作られたものか確かめてください。
rejected-replayed = この指図は、すでに実行されています。
    .remedy = 何もする必要はありません。
rejected-expired = この指図は、署名から時間がたちすぎました。
    .remedy = 指図を作り直してください。
rejected-expiry-too-far = 指図の期限は 7 日以内にする必要があります。
    .remedy = 期限を短くして、指図を作り直してください。
rejected-fork = 鍵管理サーバー（kms）が、矛盾する二つの台帳を示しました。
    .remedy = 作業を止めて、すぐに情報システム担当に連絡してください。
rejected-empty = 指図に中身がありません。
    .remedy = 指図を作り直してください。
rejected-unknown = 指図に書かれた{ $kind }は、台帳にありません。
    .remedy = 一覧で確かめて、指定し直してください。
rejected-exists = その{ $kind }は、すでにあります。
    .remedy = 一覧で確かめてください。
rejected-over = その{ $kind }はすでに終わっていて、元に戻せません。
    .remedy = 必要であれば、新しく作ってください。
rejected-member-mismatch = カードの持ち主の名前または契約が、登録と違います。
    .remedy = 登録された内容を一覧で確かめてください。
rejected-not-attested = このカードは、鍵がカードの中で作られたことを証明できません。組織の方針では使えません。
    .remedy = 別のカードを使ってください。
rejected-ends-in-past = 指定された日は過ぎています。
    .remedy = これからの日を指定してください。
rejected-ends-earlier = その{ $kind }は、それより早く終わることが決まっています。
    .remedy = 終わる日は早められますが、延ばせません。必要であれば、新しく作ってください。
rejected-starts-after-end = 権限の始まる日が、終わる日より後になっています。
    .remedy = 二つの日を確かめて、もう一度指図してください。
rejected-dated-end-of-role = 役割のある人の最終日を、前もって決めることはできません。
    .remedy = 先に役割を外すか、その日になってから二人で登録を終了してください。
rejected-own-pc-not-allowed = その宛先は、本人の PC でのカードへの書き込みを認めていません。
    .remedy = 窓口の PC で書き込むか、宛先の設定を二人で変えてください。
rejected-unit-replaced = その宛先には、代わりの宛先がすでに決まっています。
    .remedy = 宛先の一覧で、代わりの宛先を確かめてください。
rejected-not-mergeable = 統合できるのは、異なる二つの部署だけです。
    .remedy = 宛先の種類を一覧で確かめてください。
rejected-unit-malformed = 宛先の種類と、拠点・契約・振り分け先の指定が合いません。
    .remedy = 指定を見直してください。
rejected-wrong-right = 受付窓口は振り分けるだけで開けず、ほかの宛先は開くだけで振り分けられません。
    .remedy = 宛先の種類を一覧で確かめてください。
rejected-grant-exists = このカードには、その宛先の権限がすでにあります。
    .remedy = 何もする必要はありません。
rejected-card-full = このカードには、これ以上宛先を入れられません。
    .remedy = 使わなくなった宛先の権限を先に失効させてください。
rejected-not-suspended = このカードは一時停止していません。
    .remedy = 何もする必要はありません。
rejected-card-suspended = このカードは一時停止中です。
    .remedy = 先に再開してください。
rejected-roles-not-separate = 役割を分ける方針のため、セキュリティ担当は管理者や監査を兼ねられません。
    .remedy = 別の人に役割を付けるか、先にもう一方の役割を外してください。
rejected-role-under-contract = 委託先の人は、セキュリティ担当や管理者になれません。
    .remedy = 職員に役割を付けてください。
rejected-policy-out-of-bounds = 方針の値が決まりの範囲にありません（有効期限は 1 秒から 24 時間、暗証番号の有効時間は 24 時間まで）。
    .remedy = 値を見直してください。
rejected-custodians = この人たちは保管人になれません（{ $why }）。
    .remedy = 組織の職員を二人以上、一人一枚ずつ、セキュリティ担当二人が登録した使えるカードで指定してください。
rejected-custodian-of-both = この中に、もう一方のサーバーのバックアップの保管人である人、または保管人だった人がいます。
    .remedy = 別の人を指定してください。両方のサーバーの保管人には、だれもなれません。
rejected-lock-out = セキュリティ担当が二人未満になります。
    .remedy = 先に別のセキュリティ担当を登録してください。
rejected-unit-without-key = その宛先の鍵は、まだできていません。
    .remedy = 少し待ってから、もう一度実行してください。
rejected-repeated-point = このカードの鍵は、すでに登録されています。
    .remedy = 別のカードを使ってください。
rejected-not-founding = 組織の設立としては受け付けられません（セキュリティ担当は三人、または二人で 2 枚ずつのカードが必要です）。
    .remedy = セキュリティ担当の机で、設立の手続きをやり直してください。
rejected-unsound = サービスが作った鍵の記録が正しくありません（{ $why }）。
    .remedy = 作業を止めて、情報システム担当に連絡してください。
rejected-other = 台帳がこの指図を断りました（{ $why }）。
    .remedy = 指図の内容を確かめてください。

# バックアップ
backup-io = バックアップを読み書きできません（{ $why }）。
    .remedy = ファイルの場所と空き容量を確かめて、もう一度実行してください。
backup-none = これはバックアップのファイルではありません。
    .remedy = ファイルを間違えていないか確かめてください。
backup-unsound = このバックアップは使えません（{ $why }）。
    .remedy = 別のバックアップを使ってください。
backup-other = この復元の依頼は、別のバックアップのものです。
    .remedy = 依頼と同じバックアップのファイルを指定してください。
backup-other-request = 集めた分割鍵は、別の復元の依頼のものです。
    .remedy = 今の依頼で、保管人にもう一度集まってもらってください。
backup-too-few = 保管人が足りません（{ $needed } 人のうち { $have } 人）。
    .remedy = 残りの保管人にもカードを入れてもらい、もう一度実行してください。
backup-no-custodian = カード { $card } は、このバックアップの保管人のものではありません。
    .remedy = 保管人のカードだけで、もう一度集めてください。
backup-piece = カード { $card } の分割鍵が正しくありません。
    .remedy = この保管人を除いて、ほかの保管人だけでもう一度集めてください。
