# Sets Postfix up with the edge's lines, and runs it in the foreground.
set -eu
# The user of the product's image makes the socket here.
install -d -m 755 -o 10001 -g 10001 /var/spool/postfix/tes
postconf -e "myhostname = ${MAIL_HOST}" "mydestination = ${MAIL_DOMAINS}" "mynetworks = 127.0.0.0/8 [::1]/128" \
  "inet_interfaces = all" "maillog_file = /dev/stdout" "alias_maps =" "local_recipient_maps ="
grep -q '^smtpd_milters' /etc/postfix/main.cf || cat /etc/tes/main.cf >> /etc/postfix/main.cf
exec postfix start-fg
