help-warifu-ca = 発行サーバー（ca）です。組織の鍵の片割れを持ち、自分で読んだ台帳だけを信じます。外からの接続は受けず、鍵管理サーバー（kms）へ自分からつなぎます。
help-warifu-ca-init = HSM に鍵を作り、申告書 statement.json を書き出します。その指紋をセキュリティ担当が見比べます。今あるものは変えません。
help-warifu-ca-found = セキュリティ担当が署名した設立に署名し、以後その組織のために働きます。
help-warifu-ca-doctor = 動かないものを探し、直し方をひとつずつ示します。何も変えず、サービスが動いていても使えます。直すべきものがあれば 6 で終わります。
help-warifu-ca-backup = バックアップを作ります。サービスが動いていても使えます。開けるのは保管人がそろったときだけです。
help-warifu-ca-restore = 新しい機械に、バックアップを復元します。まず保管人への依頼を書き出し、集めた分割鍵を --pieces で渡すと復元します。
help-warifu-ca-rotate = 使っている鍵の隣に新しい鍵を作り、rotation.json を書き出します。セキュリティ担当が指図するまで、何も変わりません。サービスは動かしたままです
help-warifu-ca-run = 台帳に従い、求められた鍵と証明書を作ります。止められるまで続けます。準備ができると ready と表示します。

fault-other-ca = この設立に書かれた発行サーバー（ca）の鍵は、この HSM の鍵ではありません。
    .remedy = この ca の statement.json を使って、設立をやり直してください。
fault-founded-already = この発行サーバー（ca）は、すでに組織 { $organization } のものです。
    .remedy = 別の組織には、別の ca を用意してください。
fault-not-founded = この発行サーバー（ca）には、まだ組織がありません。
    .remedy = セキュリティ担当が署名した設立を、warifu-ca found で読み込んでください。
fault-other-kms = 設定に書かれた鍵管理サーバー（kms）の鍵は、設立のときのものではありません。
    .remedy = 設定の kms の申告書または鍵を確かめてください。
