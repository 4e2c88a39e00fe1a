#!/usr/bin/env bash
# nginx.sh up DIR PORT [TOKEN] | down DIR
# nginx with its dav module as a shared cache on loopback: GET, HEAD and PUT on http://127.0.0.1:PORT/PART/ac/KEY and .../cas/DIGEST, for any
# PART. Below /private/ it wants "Authorization: Bearer TOKEN". Files lie in DIR/store. Debian: nginx-light.
set -euo pipefail
dir=$2
case $1 in
up)
  port=$3 token=${4:-none}
  mkdir -p "$dir"/{store,tmp,log}
  cat > "$dir/nginx.conf" <<END
worker_processes 1;
pid $dir/nginx.pid;
error_log $dir/log/error.log warn;
$([ "$(id -u)" = 0 ] && echo 'user root;')
events { worker_connections 256; }
http {
  access_log $dir/log/access.log;
  default_type application/octet-stream;
  client_max_body_size 0;
  keepalive_timeout 60s;
  client_body_temp_path $dir/tmp/body; proxy_temp_path $dir/tmp/proxy; fastcgi_temp_path $dir/tmp/fastcgi;
  uwsgi_temp_path $dir/tmp/uwsgi; scgi_temp_path $dir/tmp/scgi;
  server {
    listen 127.0.0.1:$port;
    root $dir/store;
    location ~ ^/private/(ac|cas)/[0-9a-f]+\$ {
      if (\$http_authorization != "Bearer $token") { return 401; }
      dav_methods PUT; create_full_put_path on;
    }
    location ~ ^/[a-z0-9-]+/(ac|cas)/[0-9a-f]+\$ { dav_methods PUT; create_full_put_path on; }
    location / { return 404; }
  }
}
END
  nginx -q -c "$dir/nginx.conf"
  ;;
down) [ ! -s "$dir/nginx.pid" ] || kill "$(cat "$dir/nginx.pid")" ;;
*)
  echo "nginx.sh up DIR PORT [TOKEN] | down DIR" >&2
  exit 2
  ;;
esac
