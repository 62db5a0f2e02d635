#!/bin/sh
# A package called grafana: a server that reads address, port, certificate and key from grafana.ini as Grafana does, and answers "stand-in".
# usage: make-stand-in.sh FOLDER
set -eu
folder=$1
tree=$folder/tree
mkdir -p "$tree/DEBIAN" "$tree/usr/sbin" "$tree/usr/lib/systemd/system" "$tree/etc/grafana/provisioning"
cat >"$tree/DEBIAN/control" <<'EOF'
Package: grafana
Version: 12.3.0
Architecture: all
Maintainer: tests <tests@example.org>
Depends: python3
Description: stand-in for Grafana
EOF
cat >"$tree/DEBIAN/postinst" <<'EOF'
#!/bin/sh
set -e
getent group grafana >/dev/null || groupadd --system grafana
getent passwd grafana >/dev/null || useradd --system --gid grafana --home-dir /usr/share/grafana --shell /bin/false grafana
EOF
chmod 0755 "$tree/DEBIAN/postinst"
cat >"$tree/usr/sbin/grafana-server" <<'EOF'
#!/usr/bin/python3
import configparser
import http.server
import ssl

settings = configparser.ConfigParser(interpolation=None)
settings.read("/etc/grafana/grafana.ini")
server = settings["server"]


class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200)
        self.send_header("Content-Length", "8")
        self.end_headers()
        self.wfile.write(b"stand-in")


listening = http.server.ThreadingHTTPServer((server["http_addr"], int(server["http_port"])), Handler)
if server.get("protocol") == "https":
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(server["cert_file"], server["cert_key"])
    listening.socket = context.wrap_socket(listening.socket, server_side=True)
listening.serve_forever()
EOF
chmod 0755 "$tree/usr/sbin/grafana-server"
cat >"$tree/usr/lib/systemd/system/grafana-server.service" <<'EOF'
[Unit]
Description=stand-in for Grafana
[Service]
User=grafana
Group=grafana
ExecStart=/usr/sbin/grafana-server
[Install]
WantedBy=multi-user.target
EOF
dpkg-deb --root-owner-group --build "$tree" "$folder/grafana.deb" >/dev/null
cd "$folder" && dpkg-scanpackages . >Packages
