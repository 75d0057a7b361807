### どのサービスの端末でも言うこと

help-arg-config = 設定ファイル（TOML）
help-arg-so_pin_file = HSM の管理者用暗証番号（SO PIN）のファイル。なければ無作為に決めて忘れます（あとから誰も暗証番号を変えられません）
help-arg-file = 設立のファイル。署名はこのファイルに加えます
help-arg-fingerprint = セキュリティ担当が読み上げた指紋。なければ画面で尋ねます
help-exit-codes = 終了コード: 0 完了 / 1 できなかった（理由と次にすることを最後に表示します） / 6 doctor が直すべきものを見つけた

## 設立の確認

founding-shown = 組織の設立です。すべてのセキュリティ担当が署名しています。
founding-fingerprint = 指紋
founding-zone = 時間帯
founding-officer = セキュリティ担当
founding-card = { $member }（カード { $card }）
founding-signs = 署名の鍵 { $key }
founding-tls = 通信の鍵 { $key }
founding-seconds = { $seconds } 秒
founding-lease = 拠点の有効期限
founding-pin = 暗証番号の有効時間
founding-unattested = 証明のないカード
founding-yes = 認める
founding-no = 認めない
founding-roles = セキュリティ担当の兼務
founding-apart = 管理者・監査との兼務を認めない
founding-together = 認める
founding-ca = 発行サーバー（ca）
founding-kms = 鍵管理サーバー（kms）
founding-question = セキュリティ担当が読み上げる指紋と見比べてください。同じなら「はい」または yes と入力:

## 端末での障害

fault-file = { $path } を使えません（{ $why }）。
    .remedy = ファイルの場所と権限を確かめてください。
fault-config = 設定ファイル { $path } を読み取れません。
    { $why }
    .remedy = 示された行を直してください。
fault-json = { $path } の内容が正しくありません（{ $why }）。
    .remedy = 指定したファイルを確かめてください。
fault-in-use = フォルダー { $folder } は、動いているサービスが使っています。
    .remedy = 先にそれを止めてください。
fault-kms-twice = 設定に、鍵管理サーバー（kms）の鍵が二通り書かれています。
    .remedy = kms.statement と kms.tls_key のどちらか一方を消してください。
fault-not-the-kms = { $path } は、鍵管理サーバー（kms）の申告書ではありません。
    .remedy = 鍵管理サーバーの init が書き出した statement.json を指定してください。
fault-not-a-founding = { $path } は、すべてのセキュリティ担当が署名した設立のファイルではありません。
    .remedy = セキュリティ担当の机で書き出したファイルを指定してください。
fault-nobody-confirms = 指紋を見比べる人がいません（端末から実行されていません）。
    .remedy = 指紋を --fingerprint で指定してください。
fault-not-confirmed = 確認されなかったため、何も署名していません。
    .remedy = 指紋が違うときは、ファイルをセキュリティ担当に確かめてください。
fault-other-fingerprint = この設立の指紋は { $found } で、指定された { $expected } ではありません。
    .remedy = 作業を止めて、ファイルをセキュリティ担当に確かめてください。
fault-keys-not-in-use = この HSM の鍵は、ここにある台帳に載っていません。
    .remedy = サービスを動かして台帳を読み終えてから、もう一度実行してください。
fault-former-transport-key = 前回の鍵の交換がまだ終わっていません。以前の鍵で保護されたデータが残っている可能性があります。
    .remedy = 完了がログに出るまで拠点のサービスを動かしてから、もう一度実行してください。
fault-listen = { $address } で待ち受けできません（{ $why }）。
    .remedy = 設定の listen を確かめてください。
fault-randomness = このコンピューターから乱数を得られません。
    .remedy = コンピューターを再起動してください。
fault-system = このコンピューターの働きに障害があります（{ $why }）。
    .remedy = コンピューターを再起動してください。
fault-unexpected = 思いがけない障害が起きました（{ $why }）。
    .remedy = この表示を控えて、情報システム担当に連絡してください。
fault-stopping = 終了する途中です。
    .remedy = 終わるのを待って、もう一度始めてください。
fault-no-organization = 設定に、組織が書かれていません。
    .remedy = 設立の指紋を、設定の organization に書いてください。

## 暗号装置（HSM）

hsm-module-unusable = HSM のプログラム { $path } を使えません（{ $why }）。
    .remedy = 設定の hsm.module を確かめてください。
hsm-token-missing = HSM に、「{ $label }」という名前のトークンがありません。
    .remedy = HSM がつながっているか、設定の hsm.token_label が正しいかを確かめてください。初めてであれば init を実行してください。
hsm-token-exists = HSM に、「{ $label }」という名前のトークンがすでにあります。何も変えていません。
    .remedy = 別の名前にするか、今あるものをそのまま使ってください。
hsm-no-free-slot = HSM に、トークンを作る場所がありません。
    .remedy = HSM の空きを確かめてください。
hsm-token-label-length = トークンの名前は 1～32 バイトです。
    .remedy = 設定の hsm.token_label を短くしてください。
hsm-already-open = トークン「{ $label }」は、別の設定で開かれています。
    .remedy = 設定が一つだけか確かめてください。
hsm-pin-wrong = トークン「{ $label }」の暗証番号が違います。もう一度は試しません。
    .remedy = 設定の hsm.pin_file のファイルを確かめてください。
hsm-pin-refused-before = { $path } の暗証番号は、前に HSM が受け付けませんでした。同じものは二度試しません。
    .remedy = 正しい暗証番号を { $path } に書いてください。
hsm-pin-unusable = トークン「{ $label }」の暗証番号は、使えなくなっているか、決められていません。
    .remedy = HSM の管理者に、暗証番号を決め直してもらってください。
hsm-pin-unreadable = 暗証番号のファイル { $path } を読めません（{ $why }）。
    .remedy = ファイルの場所と権限を確かめてください。
hsm-pin-exposed = 暗証番号のファイル { $path } を、ほかの人も使えます（モード { $mode }）。
    .remedy = chmod 600 で、持ち主だけが使えるようにしてください。
hsm-mechanism-missing = HSM に、必要な機能 { $name } がありません。
    .remedy = この機能のある HSM を使ってください。
hsm-capacity-exhausted = HSM に、これ以上鍵を入れられません。
    .remedy = HSM の容量を増やしてください。
hsm-key-missing = HSM から、鍵「{ $label }」がなくなっています。
    .remedy = 鍵の入っている HSM をつなぐか、情報システム担当に連絡してください。
hsm-key-incomplete = HSM の鍵「{ $label }」の公開鍵がなくなっています。新しい鍵には替えません。
    .remedy = 情報システム担当に連絡してください。
hsm-key-ambiguous = HSM に、「{ $label }」という鍵がいくつもあります。
    .remedy = 余分な鍵がどれか、情報システム担当に調べてもらってください。
hsm-key-exposed = HSM の鍵「{ $label }」は、取り出せるか、取り出せたことがあります。
    .remedy = この鍵を使わず、情報システム担当に連絡してください。
hsm-other-token = データベースの秘密を、この HSM では開けません。組になっていないようです。
    .remedy = このデータベースと組の HSM をつないでください。
hsm-fails = HSM が正しく応答しません（{ $why }）。
    .remedy = HSM の電源と接続を確かめて、もう一度始めてください。

## データベース

database-cannot-be-opened = データベース { $path } を開けません（{ $why }）。
    .remedy = 設定の data のフォルダーと、その権限を確かめてください。
database-other-version = データベースは、別の版のプログラムのものです（{ $why }）。
    .remedy = 前に使っていた版か、それより新しい版のプログラムを使ってください。
database-in-use = データベースを、ほかのプログラムが使っています。
    .remedy = 同じサービスが二つ動いていないか確かめてください。
database-read-only = データベースに書き込めません。
    .remedy = data のフォルダーの権限を確かめてください。
database-disk-full = データベースのディスクに空きがありません。
    .remedy = ディスクの空きを作って、もう一度始めてください。
database-damaged = データベースが壊れています。
    .remedy = サービスを動かさず、情報システム担当に連絡してください。
database-damaged-file = データベース { $path } が壊れています。
    .remedy = サービスを動かさず、情報システム担当に連絡してください。
database-not-there = データベースのファイルを開けません。
    .remedy = 設定の data のフォルダーを確かめてください。
database-fails = データベースが正しく動きません（{ $why }）。
    .remedy = ディスクを確かめて、もう一度始めてください。
database-unreachable = PostgreSQL が応答しません（{ $why }）。
    .remedy = PostgreSQL が動いているか、設定の database の url が正しいかを確かめてください。応答が戻れば、サービスは自動で続きます。
database-login-refused = PostgreSQL に接続を断られました（{ $why }）。
    .remedy = url の利用者名、password_file のファイル、PostgreSQL の pg_hba.conf を確かめてください。
database-not-made = PostgreSQL に、そのデータベースがありません（{ $why }）。
    .remedy = 手引き（database）に従って作るか、url を直してください。
database-no-rights = データベースの中で、必要なことをする権限がありません（{ $why }）。
    .remedy = 手引き（database）に従って、サービスの利用者をデータベースの所有者にしてください。
database-not-postgres = 設定の database の url が、PostgreSQL のデータベースのものではありません。
    .remedy = postgres:///warifu か、postgres://利用者@ホスト/warifu?sslmode=verify-full の形で書いてください。
database-password-in-address = データベースの url に、パスワードが書かれています。
    .remedy = サービスだけが読めるファイルにパスワードを移し、password_file でそのファイルを指定してください。
database-not-verified = データベースは別のコンピューター（{ $host }）にあり、このままでは接続先が本物か確かめられません。
    .remedy = url に ?sslmode=verify-full&sslrootcert=ファイル を付けてください。
database-too-old = PostgreSQL { $version } は古すぎます。
    .remedy = PostgreSQL 14 か、それより新しいものを使ってください。
database-other-encoding = データベースの文字コードが UTF-8 ではなく { $encoding } です。
    .remedy = 手引き（database）に従って、ENCODING 'UTF8' のデータベースを作り直してください。
database-not-durable = PostgreSQL の「{ $setting }」が off です。停電のとき、確認済みのものが失われます。
    .remedy = postgresql.conf で { $setting } = on にして、PostgreSQL を再起動してください。
database-copy-differs = データベースの写しが元と同じではありません（{ $table }）。写しは残していません。
    .remedy = どちらのデータベースも、ほかから使われていないことを確かめて、もう一度実行してください。
fault-open-to-others = 秘密を収めたファイル { $path } を、所有者のほかの利用者も使えます。
    .remedy = 所有者をサービスの利用者にして、chmod 600 でほかの利用者から使えなくしてください。
database-put-back = データベースの台帳は { $size } 件ですが、前は { $had } 件ありました。古い状態に戻されています。
    .remedy = サービスを動かさず、情報システム担当に連絡してください。

## 台帳と鍵管理サーバー（kms）

ledger-other-organization = 台帳は別の組織（{ $found }）のもので、{ $expected } のものではありません。
    .remedy = 設立のときに控えた指紋と、指定した指紋（--organization、または設定の organization）を見比べてください。
ledger-unsound = 鍵管理サーバー（kms）から来た台帳が正しくありません（{ $why }）。
    .remedy = サービスを動かさず、情報システム担当に連絡してください。
kms-unreachable = 鍵管理サーバー（kms）{ $address } につながりません（{ $why }）。
    .remedy = ネットワークの接続を確かめてください。
kms-not-trusted = { $address } は、この組織の鍵管理サーバー（kms）ではないか、こちらの鍵を認めません。
    .remedy = 設定の kms のアドレスと鍵を確かめてください。
kms-timed-out = 鍵管理サーバー（kms）{ $address } から、時間内に応答がありません。
    .remedy = 鍵管理サーバーが動いているか確かめてください。
kms-broke-off = 鍵管理サーバー（kms）{ $address } との接続が切れました。
    .remedy = ネットワークの接続を確かめてください。
kms-refuses = 鍵管理サーバー（kms）が断りました（{ $why }）。
    .remedy = 両方のプログラムを同じ版にそろえてください。

## バックアップ

help-arg-backup = バックアップのファイル
help-arg-out = バックアップを書き出すファイル（新しい名前）
help-arg-without_lost = 前の災害で失った片割れがあっても続けます
help-arg-pieces = 保管人のカードから集めた分割鍵のファイル（warifu-admin backup open が書き出したもの）
help-arg-organization = 設立の指紋（設立のときに控えたもの）

backup-not-founded = このサーバーには、まだ組織がないので、バックアップするものがありません。
    .remedy = 先に設立を済ませてください。
backup-no-custodians = このサーバーのバックアップの保管人が、まだ決まっていません。
    .remedy = セキュリティ担当二人に、warifu-admin backup custodians で決めてもらってください。
backup-custodians-gone = 使えるカードを持つ保管人が { $living } 人だけです（{ $needed } 人が必要です）。
    .remedy = セキュリティ担当二人に、warifu-admin backup custodians で保管人を決め直してもらってください。
backup-halves-lost = 宛先 { $count } 件の鍵の片割れが、このサーバーにありません（{ $units }）。バックアップは作っていません。
    .remedy = それらを失ったまま復元したサーバーなら、--without-lost を付け、宛先の鍵を更新してください。そうでなければ、前のバックアップをすべて残し、このサーバーの管理者に連絡してください。
backup-other-keys = この HSM の鍵は、台帳にあるこのサーバーの鍵ではありません。
    .remedy = 設定の HSM が正しいか確かめてください。
backup-not-empty = このサーバーにはすでにデータベースがあるので、復元しません。
    .remedy = 新しい機械なら、サービスを止め、data の中身を削除し、init からやり直してください。init の鍵は変わりません。
backup-other-service = これは、もう一方のサーバーのバックアップです。
    .remedy = このサーバーのバックアップを指定してください。
backup-exists = { $path } は、すでにあります。
    .remedy = 新しい名前を指定してください。
