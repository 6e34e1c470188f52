"""Writes docs/images/architecture-{light,dark}.svg."""
from pathlib import Path
LIGHT = dict(ink='#1f2328', soft='#59636e', line='#8c959f', box='#f6f8fa', edge='#d1d9e0', us='#ddf4ff', us_edge='#0969da', key='#0550ae')
DARK = dict(ink='#e6edf3', soft='#9198a1', line='#6e7681', box='#151b23', edge='#3d444d', us='#0c2d6b', us_edge='#58a6ff', key='#79c0ff')
def draw(c):
    def box(x,y,w,h,title,sub,us=False):
        fill,edge=(c['us'],c['us_edge']) if us else (c['box'],c['edge'])
        lines=''.join(f'<text x="{x+w/2}" y="{y + h / 2 + 14 + i * 15}" class="s">{s}</text>' for i,s in enumerate(sub))
        return (f'<rect x="{x}" y="{y}" width="{w}" height="{h}" rx="8" fill="{fill}" stroke="{edge}"/>'
                f'<text x="{x+w/2}" y="{y+h/2-6}" class="t">{title}</text>{lines}')
    def arrow(x1,y1,x2,y2,dashed=False):
        d=' stroke-dasharray="4 4"' if dashed else ''
        return f'<path d="M{x1} {y1} L{x2} {y2}" stroke="{c["line"]}" fill="none" marker-end="url(#a)"{d}/>'
    parts=[
     f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 860 300" role="img" aria-label="A caller sends its own token to Envoy. keyless verifies it with the issuer\'s keys and forwards the request to Azure OpenAI with the managed identity\'s token.">',
     f'<style>text{{font-family:system-ui,-apple-system,"Segoe UI",Helvetica,Arial,sans-serif;text-anchor:middle}}.t{{font-size:16px;font-weight:600;fill:{c["ink"]}}}.s{{font-size:12px;fill:{c["soft"]}}}.k{{font-size:12px;fill:{c["key"]}}}</style>',
     f'<defs><marker id="a" viewBox="0 0 10 10" refX="9" refY="5" markerWidth="7" markerHeight="7" orient="auto-start-reverse"><path d="M0 0 L10 5 L0 10 z" fill="{c["line"]}"/></marker></defs>',
     f'<rect x="240" y="24" width="362" height="136" rx="10" fill="none" stroke="{c["edge"]}" stroke-width="1.5"/>',
     '<text x="425" y="46" class="s">your Envoy or Istio gateway</text>',
     box(16,60,120,76,'Caller',['app, agent, SDK']),
     box(258,60,150,76,'keyless',['verify · authorise','swap the credential'],True),
     box(432,60,64,76,'guard',['RBAC']),
     box(520,60,72,76,'router',['retries']),
     box(714,60,138,76,'Azure OpenAI',['no API keys']),
     box(188,222,190,60,'Issuer',['Entra, Okta, Keycloak …']),
     box(400,222,190,60,'Managed identity',['IMDS, App Service …']),
     arrow(136,98,256,98), '<text x="188" y="88" class="k">caller\'s token</text>',
     arrow(408,98,430,98), arrow(496,98,518,98),
     arrow(592,98,712,98), '<text x="658" y="88" class="k">gateway\'s token</text>',
     arrow(310,136,283,220,True), '<text x="262" y="190" class="s">keys</text>',
     arrow(360,136,480,220,True), '<text x="488" y="190" class="s">access token</text>',
     '</svg>']
    return '\n'.join(parts)+'\n'
folder=Path(__file__).parent
for name,colours in (('light',LIGHT),('dark',DARK)):
    (folder/f'architecture-{name}.svg').write_text(draw(colours))
