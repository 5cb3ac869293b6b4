# Creates a cluster's certificates and kubeconfigs with openssl, for one run. Sourced; needs common.sh.
# Elliptic-curve keys: creating all of them takes less than a second.

# Creates the certificate authority in the folder $1, and the key pair that signs service account tokens.
make_authority() {
  mkdir -p "$1"
  chmod 700 "$1"
  new_key "$1/service-accounts"
  openssl pkey -in "$1/service-accounts.key" -pubout -out "$1/service-accounts.pub"
  new_key "$1/ca"
  openssl req -x509 -new -key "$1/ca.key" -sha256 -days 30 -subj "/CN=opencode-router test cluster" -out "$1/ca.crt" \
    -addext basicConstraints=critical,CA:TRUE -addext keyUsage=critical,digitalSignature,keyCertSign
}

# Creates a certificate for the subject $3 as $1/$2.crt; with $4 ("IP:…,DNS:…") it is a server certificate
# too.
make_certificate() {
  local folder=$1 name=$2 subject=$3 names=${4:-}
  new_key "$folder/$name"
  openssl req -new -key "$folder/$name.key" -subj "$subject" -out "$folder/$name.csr"
  openssl x509 -req -in "$folder/$name.csr" -CA "$folder/ca.crt" -CAkey "$folder/ca.key" -CAcreateserial -sha256 -days 30 \
    -out "$folder/$name.crt" -extfile <(
      echo "keyUsage=critical,digitalSignature"
      echo "extendedKeyUsage=clientAuth${names:+,serverAuth}"
      [ -z "$names" ] || echo "subjectAltName=$names"
    ) 2>/dev/null
  rm "$folder/$name.csr"
}

# Writes the kubeconfig $1 for the server $2 with the certificate $3/$4.crt embedded.
make_kubeconfig() {
  local file=$1 server=$2 folder=$3 name=$4
  (
    umask 077
    cat >"$file.new" <<END
apiVersion: v1
kind: Config
clusters: [{ name: test, cluster: { server: "$server", certificate-authority-data: $(base64 -w0 "$folder/ca.crt") } }]
users: [{ name: $name, user: { client-certificate-data: $(base64 -w0 "$folder/$name.crt"), client-key-data: $(base64 -w0 "$folder/$name.key") } }]
contexts: [{ name: test, context: { cluster: test, user: $name } }]
current-context: test
END
  )
  mv "$file.new" "$file"
}

new_key() {
  (umask 077 && openssl genpkey -algorithm EC -pkeyopt ec_paramgen_curve:P-256 -out "$1.key")
}
